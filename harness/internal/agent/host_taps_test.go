package agent

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	. "github.com/onsi/gomega"
)

// piped is a response whose reader sets the pace.
type piped struct {
	http.ResponseWriter
	to io.Writer
}

func (p piped) Write(b []byte) (int, error) { return p.to.Write(b) }

func TestATapIsAskedWhileJourneysAreRead(t *testing.T) {
	g := NewWithT(t)
	var s tapSet
	from, to := io.Pipe()
	go func() {
		s.journeys(piped{httptest.NewRecorder(), to}, nil)
		to.Close()
	}()
	_, err := from.Read(make([]byte, 1))
	g.Expect(err).NotTo(HaveOccurred())
	asked := make(chan error, 1)
	go func() {
		_, err := s.retained(t.Context(), "w0/eth0")
		asked <- err
	}()
	g.Eventually(asked).Should(Receive(MatchError(`there is no tap "w0/eth0"`)))
	_, err = io.ReadAll(from)
	g.Expect(err).NotTo(HaveOccurred())
}
