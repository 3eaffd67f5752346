package engine

import (
	"net"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestSilentEngineIsGivenUp(t *testing.T) {
	g := NewWithT(t)
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s")})
	g.Expect(err).NotTo(HaveOccurred())
	defer listener.Close() //nolint:errcheck // a test's
	_, err = connect(t.Context(), "unix://"+listener.Addr().String(), 50*time.Millisecond)
	g.Expect(err).To(MatchError(ErrNotAnswering))
	g.Expect(err).To(MatchError(And(ContainSubstring("no answer within 50ms"), ContainSubstring("docker version"))))
}

func TestLogKeepsTheEnd(t *testing.T) {
	g := NewWithT(t)
	ring := &logRing{limit: 4}
	for _, text := range []string{"ab", "cd"} {
		g.Expect(ring.Write([]byte(text))).To(Equal(2))
	}
	g.Expect(ring.String()).To(Equal("abcd"))
	for _, text := range []string{"e", "fghijklm", "n"} {
		_, err := ring.Write([]byte(text))
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(ring.String()).To(Equal("[earlier output is gone]\nklmn"))
}
