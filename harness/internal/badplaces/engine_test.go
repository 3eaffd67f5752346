package badplaces

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness/internal/engine"
)

// rules are what a proxy does to calls. The zero value passes them all on.
type rules struct {
	refuse func(call string) (status int, message string) // status 0 passes the call on
	change func(*container.CreateRequest)
}

// proxy stands between a suite and the Docker engine: it sees what is asked, and can refuse or change it.
type proxy struct {
	*engine.Engine
	rules
	socket string
	calls  chan string // "METHOD path" of each call, without the version; dropped while nobody reads

	mu    sync.Mutex
	names []string // guarded by mu; of the containers created
}

// newProxy serves to the end of the test.
func newProxy(t *testing.T, how rules) *proxy {
	t.Helper()
	g := NewWithT(t)
	e, err := engine.Connect(t.Context(), "")
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = e.Close() })
	url, err := client.ParseHostURL(e.Host())
	g.Expect(err).NotTo(HaveOccurred())
	network := url.Scheme // unix or tcp
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, url.Host)
	}
	p := &proxy{Engine: e, rules: how, socket: filepath.Join(shortFolder(t), "d.sock"), calls: make(chan string, 1000)}
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "unix", p.socket)
	g.Expect(err).NotTo(HaveOccurred())
	reverse := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", "docker" },
		Transport:     &http.Transport{DialContext: dial, DisableCompression: true},
		FlushInterval: -1,
	}
	server := &http.Server{ReadHeaderTimeout: 0, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { //nolint:gosec // a test's
		p.pass(w, r, reverse)
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return p
}

var version = regexp.MustCompile(`^/v[0-9.]+`)

func (p *proxy) pass(w http.ResponseWriter, r *http.Request, reverse http.Handler) {
	call := r.Method + " " + version.ReplaceAllString(r.URL.Path, "")
	if p.refuse != nil {
		if status, message := p.refuse(call); status != 0 {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(map[string]string{"message": message})
			return
		}
	}
	if call == "POST /containers/create" {
		p.mu.Lock()
		p.names = append(p.names, r.URL.Query().Get("name"))
		p.mu.Unlock()
		if p.change != nil {
			rewriteBody(r, p.change)
		}
	}
	select {
	case p.calls <- call:
	default:
	}
	reverse.ServeHTTP(w, r)
}

func rewriteBody(r *http.Request, change func(*container.CreateRequest)) {
	var request container.CreateRequest
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		panic(err)
	}
	change(&request)
	body, err := json.Marshal(request)
	if err != nil {
		panic(err)
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
}

// left are those of the suite's containers that the engine still has.
func (p *proxy) left(ctx context.Context) ([]string, error) {
	all, err := p.Leftovers(ctx, engine.Label)
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(all, func(name string) bool { return !slices.Contains(p.names, name) }), err
}

// shortFolder is a folder for a socket, whose path must not be long; everyone may enter it.
func shortFolder(t *testing.T) string {
	t.Helper()
	g := NewWithT(t)
	folder, err := os.MkdirTemp("", "bad")
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	g.Expect(os.Chmod(folder, 0o755)).To(Succeed()) //nolint:gosec // for another user's sake
	return folder
}
