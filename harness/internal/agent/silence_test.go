package agent

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestAnAgentThatNobodySpeaksToEnds(t *testing.T) {
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00" // and empty settings
	for _, said := range []string{"", preface} {
		g := NewWithT(t)
		near, far := pipes(t) // stays open
		ended := make(chan error, 1)
		go func() {
			ended <- serveStream(context.Background(), newStreamConn(far, far, nil), http.NewServeMux(), 20*time.Millisecond)
		}()
		go io.Copy(io.Discard, near)
		_, err := io.WriteString(near, said)
		g.Expect(err).NotTo(HaveOccurred())
		g.Eventually(ended, "5s").Should(Receive(), "%q", said)
	}
}

func TestAnIdleAgentIsAskedAndStays(t *testing.T) {
	g := NewWithT(t)
	near, far := pipes(t)
	mux := http.NewServeMux()
	asked := make(chan struct{})
	watch := &countingReader{Reader: far, enough: asked}
	ended := make(chan error, 1)
	go func() {
		ended <- serveStream(context.Background(), newStreamConn(watch, far, nil), mux, 300*time.Millisecond)
	}()
	client := Dial(near)
	defer client.Close()
	g.Eventually(asked, "5s").Should(BeClosed(), "answers to its pings")
	g.Expect(ended).NotTo(Receive())
}

// countingReader closes enough once it has been read from eight times: more often than its preface takes.
type countingReader struct {
	io.Reader
	reads  atomic.Int32
	enough chan struct{}
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if r.reads.Add(1) == 8 {
		close(r.enough)
	}
	return n, err
}
