package engine

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
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

func TestAnEngineThatFallsSilentIsGivenUp(t *testing.T) {
	g := NewWithT(t)
	var silent atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if silent.Load() {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}
		_, _ = io.WriteString(w, `{"Version":"20.10.24","ApiVersion":"1.41","Os":"linux"}`)
	}))
	defer server.Close()
	defer server.CloseClientConnections()
	address := strings.Replace(server.URL, "http://", "tcp://", 1)
	e, err := Connect(t.Context(), address)
	g.Expect(err).NotTo(HaveOccurred())
	defer e.Close() //nolint:errcheck // a test's
	e.patience = 3 * time.Second

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	alive, release := e.WhileAlive(ctx)
	g.Consistently(alive.Done(), "4s").ShouldNot(BeClosed())
	silent.Store(true)
	g.Eventually(alive.Done(), "1m").Should(BeClosed())
	release()
	err = e.LoadImage(ctx, strings.NewReader("x"))
	for _, err := range []error{context.Cause(alive), err} {
		g.Expect(err).To(MatchError(ErrNotAnswering))
		g.Expect(err).To(MatchError(HaveSuffix("waiting for Docker at " + address + ": no answer for 3s; see whether `docker version` answers; restart the engine if not")))
	}
	g.Expect(err).To(MatchError(HavePrefix("loading an image on the engine " + address)))
}
