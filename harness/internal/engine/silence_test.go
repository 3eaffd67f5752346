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
