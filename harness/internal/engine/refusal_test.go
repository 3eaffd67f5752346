package engine_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness/internal/engine"
)

// fakeDaemon answers the calls of the engine package on a unix socket, and refuses as told.
type fakeDaemon struct {
	socket   string
	version  string // API version, "" for 1.41
	refusals map[string]refusal

	mu      sync.Mutex
	removed []string
}

// refusal is an answer to "METHOD path" of the API.
type refusal struct {
	status int
	body   string
}

func message(status int, text string) refusal {
	body, _ := json.Marshal(map[string]string{"message": text}) // strings always marshal
	return refusal{status, string(body)}
}

// newFakeDaemon serves to the end of the test, and points DOCKER_HOST to itself.
func newFakeDaemon(t *testing.T, d *fakeDaemon) *fakeDaemon {
	t.Helper()
	g := NewWithT(t)
	folder, err := os.MkdirTemp("", "fake") // t.TempDir can be too long for a socket's name
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	d.socket = filepath.Join(folder, "d.sock")
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "unix", d.socket)
	g.Expect(err).NotTo(HaveOccurred())
	server := &http.Server{Handler: d, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	useHost(t, "unix://"+d.socket)
	return d
}

// useHost makes Connect go to an address, whatever this machine's docker command is set up for.
func useHost(t *testing.T, host string) {
	t.Helper()
	t.Setenv("DOCKER_HOST", host)
	for _, name := range []string{"DOCKER_API_VERSION", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY"} {
		t.Setenv(name, "")
	}
}

func (d *fakeDaemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if rest, ok := strings.CutPrefix(path, "/v1."); ok {
		_, path, _ = strings.Cut(rest, "/")
		path = "/" + path
	}
	version := d.version
	if version == "" {
		version = "1.41"
	}
	w.Header().Set("Api-Version", version)
	w.Header().Set("Content-Type", "application/json")
	if refused, ok := d.refusals[r.Method+" "+path]; ok {
		w.WriteHeader(refused.status)
		_, _ = w.Write([]byte(refused.body))
		return
	}
	switch r.Method + " " + path {
	case "GET /version":
		fmt.Fprintf(w, `{"Version":"20.10.24","ApiVersion":%q,"Os":"linux","Arch":"amd64"}`, version)
	case "GET /info":
		fmt.Fprint(w, `{"DockerRootDir":"/srv/docker"}`)
	case "POST /containers/create":
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"Id":"c1"}`)
	case "POST /containers/c1/attach":
		conn, buffer, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close() //nolint:errcheck // a test's
		_, _ = buffer.WriteString("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		_ = buffer.Flush()
		_, _ = buffer.ReadByte() // until the other end closes
	case "POST /containers/c1/wait":
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	case "DELETE /containers/c1":
		d.mu.Lock()
		defer d.mu.Unlock()
		d.removed = append(d.removed, r.URL.RawQuery)
		w.WriteHeader(http.StatusNotFound) // gone already, as after a start that failed
		fmt.Fprint(w, `{"message":"No such container: c1"}`)
	}
}

func TestStartExplainsRefusals(t *testing.T) {
	const caps = "OCI runtime create failed: container_linux.go:380: starting container process caused: " +
		"unable to apply caps: operation not permitted: unknown"
	const full = "mkdir /var/lib/docker/overlay2/l: no space left on device"
	const noProc = `error mounting "proc" to rootfs at "/proc": mount proc:/proc (via /proc/self/fd/6), flags: 0xe: operation not permitted: unknown`
	tests := []struct {
		name, at string
		answer   refusal
		kind     error
		says     []string
		cleansUp bool
	}{
		{"capabilities", "POST /containers/c1/start", message(400, caps), engine.ErrCapabilities,
			[]string{"starting container lab", caps, "NET_ADMIN, SYS_ADMIN, NET_RAW or SYSLOG", "DOCKER_HOST"}, true},
		{"capabilities, in other words of runc", "POST /containers/c1/start", message(400, "runc create failed: unable to start container process: "+
			"error during container init: operation not permitted: unknown"), engine.ErrCapabilities, []string{"NET_ADMIN, SYS_ADMIN, NET_RAW or SYSLOG"}, true},
		{"the machine's processes, in a user namespace", "POST /containers/c1/start", message(400, noProc), engine.ErrCapabilities,
			[]string{noProc, "rootless Docker", "an engine that root runs"}, true},
		{"full disk at creation", "POST /containers/create", message(500, full), engine.ErrNoSpace,
			[]string{"creating container lab", full, "/srv/docker", "docker system df"}, false},
		{"full disk at start", "POST /containers/c1/start", message(500, full), engine.ErrNoSpace,
			[]string{"starting container lab", full, "/srv/docker"}, true},
		{"authorisation", "POST /containers/create", message(403, "authorization denied by plugin x"), engine.ErrPermission,
			[]string{"denied by plugin x"}, false},
		{"anything else", "POST /containers/c1/start", message(500, "the moon is full"), nil,
			[]string{"starting container lab", "the moon is full"}, true},
		{"attach", "POST /containers/c1/attach", message(500, "no attaching today"), nil,
			[]string{"attaching to container lab"}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			daemon := newFakeDaemon(t, &fakeDaemon{refusals: map[string]refusal{test.at: test.answer}})
			e, err := engine.Connect(t.Context(), "")
			g.Expect(err).NotTo(HaveOccurred())
			defer e.Close() //nolint:errcheck // a test's
			_, err = e.Start(t.Context(), engine.Spec{Name: "lab", Image: "x", Kind: engine.KindHost})
			g.Expect(err).To(HaveOccurred())
			if test.kind != nil {
				g.Expect(err).To(MatchError(test.kind))
			}
			for _, words := range test.says {
				g.Expect(err.Error()).To(ContainSubstring(words))
			}
			if test.cleansUp {
				g.Expect(daemon.removed).To(Equal([]string{"force=1"}))
			} else {
				g.Expect(daemon.removed).To(BeEmpty())
			}
		})
	}
}

// Podman prepares a container when it is attached to, and the client drops what it then says.
func TestAttachingSaysWhyAContainerCannotStart(t *testing.T) {
	g := NewWithT(t)
	const limits = "crun: setrlimit `RLIMIT_NOFILE`: Operation not permitted: OCI permission denied"
	daemon := newFakeDaemon(t, &fakeDaemon{refusals: map[string]refusal{
		"POST /containers/c1/attach": message(409, "preparing container c1 for attach: "+limits), "POST /containers/c1/start": message(500, limits),
	}})
	e, err := engine.Connect(t.Context(), "")
	g.Expect(err).NotTo(HaveOccurred())
	defer e.Close() //nolint:errcheck // a test's
	_, err = e.Start(t.Context(), engine.Spec{Name: "lab", Image: "x", Kind: engine.KindHost})
	g.Expect(err).To(MatchError(engine.ErrCapabilities))
	g.Expect(err).To(MatchError(And(ContainSubstring("attaching to container lab"), ContainSubstring(limits), ContainSubstring("default_ulimits"))))
	g.Expect(daemon.removed).To(HaveLen(1))
}

func TestKernelWithoutIPv6NeedsNoSwitchForIt(t *testing.T) {
	g := NewWithT(t)
	const text = "OCI runtime create failed: write sysctl key net.ipv6.conf.all.disable_ipv6: " +
		"open /proc/sys/net/ipv6/conf/all/disable_ipv6: no such file or directory: unknown"
	daemon := newFakeDaemon(t, &fakeDaemon{refusals: map[string]refusal{"POST /containers/c1/start": message(400, text)}})
	e, err := engine.Connect(t.Context(), "")
	g.Expect(err).NotTo(HaveOccurred())
	defer e.Close() //nolint:errcheck // a test's
	_, err = e.Start(t.Context(), engine.Spec{Name: "lab", Image: "x", Kind: engine.KindHost})
	g.Expect(err).To(MatchError(ContainSubstring(text)))
	g.Expect(daemon.removed).To(HaveLen(2), "it was tried again without")
	_, err = e.Start(t.Context(), engine.Spec{Name: "lab", Image: "x", Kind: engine.KindHost, IPv6: true})
	g.Expect(err).To(MatchError(ContainSubstring(text)))
	g.Expect(daemon.removed).To(HaveLen(3), "IPv6 that was asked for is not given up")
}

func TestLoadImageExplainsAFullDisk(t *testing.T) {
	const full = "write /var/lib/docker/tmp/x: no space left on device"
	const begun, both, brief, detail = `{"stream":"Loading layer"}` + "\n", `{"errorDetail":{"message":"` + full + `"},"error":"` + full + `"}`,
		`{"error":"` + full + `"}`, `{"errorDetail":{"message":"` + full + `"}}`
	for name, answer := range map[string]refusal{
		"by status": message(500, full), "after a good status": {200, begun + both}, "as error alone": {200, begun + brief}, "as errorDetail alone": {200, begun + detail},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			newFakeDaemon(t, &fakeDaemon{refusals: map[string]refusal{"POST /images/load": answer}})
			e, err := engine.Connect(t.Context(), "")
			g.Expect(err).NotTo(HaveOccurred())
			defer e.Close() //nolint:errcheck // a test's
			err = e.LoadImage(t.Context(), strings.NewReader("x"))
			g.Expect(err).To(MatchError(engine.ErrNoSpace))
			g.Expect(err).To(MatchError(And(ContainSubstring(full), ContainSubstring("/srv/docker"))))
		})
	}
}
