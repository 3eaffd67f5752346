package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/docker/docker/api/types/versions"
	"github.com/docker/docker/client"
)

const (
	// minAPI is that of Docker 20.10, the oldest engine this is tried on.
	minAPI = "1.41"
	// connectTimeout is how long an engine may take for its first answer.
	connectTimeout = 10 * time.Second
)

// Connect reaches the engine that DOCKER_HOST names, else that of the docker command's current context, else the one at its usual socket. The
// variables DOCKER_API_VERSION, DOCKER_CERT_PATH and DOCKER_TLS_VERIFY are honoured as well.
//
// Errors match [ErrNoSocket], [ErrPermission], [ErrNotAnswering] or [ErrTooOld], and say what to do.
func Connect(ctx context.Context) (*Engine, error) {
	opts := []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation()}
	host, err := contextHost()
	if err != nil {
		return nil, fmt.Errorf("connecting to Docker: %w", err)
	}
	if host != "" {
		opts = append(opts, client.WithHost(host))
	}
	return connect(ctx, connectTimeout, opts...)
}

// connect gives the engine the timeout's time for its answers.
func connect(ctx context.Context, timeout time.Duration, opts ...client.Opt) (*Engine, error) {
	api, err := client.NewClientWithOpts(opts...)
	if err != nil {
		return nil, fmt.Errorf("connecting to Docker: %w; check DOCKER_HOST and DOCKER_CERT_PATH", err)
	}
	closing, closeAll := context.WithCancel(context.WithoutCancel(ctx))
	e := &Engine{api: api, host: api.DaemonHost(), guard: newGuard(), closing: closing, close: closeAll}
	if err := e.greet(ctx, timeout); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// greet negotiates the API version and learns what the engine is.
func (e *Engine) greet(ctx context.Context, timeout time.Duration) error {
	doing := "connecting to Docker at " + e.host
	if strings.HasPrefix(e.host, "ssh:") {
		return &Error{Doing: doing, Err: errors.New("ssh is not supported directly"),
			Hint: "forward the engine's socket and name the near end: " +
				"ssh -N -L /tmp/docker.sock:/var/run/docker.sock HOST & export DOCKER_HOST=unix:///tmp/docker.sock"}
	}
	silence := &Error{Doing: doing, Kind: ErrNotAnswering, Err: fmt.Errorf("no answer within %v", timeout),
		Hint: "see whether `docker version` answers; restart the engine if not"}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, silence)
	defer cancel()
	if _, err := e.api.Ping(ctx); err != nil {
		return e.unreachable(ctx, doing, err)
	}
	v, err := e.api.ServerVersion(ctx)
	if err != nil {
		return e.unreachable(ctx, doing, err)
	}
	if versions.LessThan(v.APIVersion, minAPI) {
		return &Error{Doing: doing, Kind: ErrTooOld,
			Err:  fmt.Errorf("engine %s offers API %s, and %s is needed", v.Version, v.APIVersion, minAPI),
			Hint: "upgrade Docker to 20.10 or later, or unset DOCKER_API_VERSION"}
	}
	if v.Os != "linux" {
		return &Error{Doing: doing, Kind: ErrNotLinux, Err: fmt.Errorf("the engine runs %s containers", v.Os),
			Hint: "switch it to Linux containers, or point DOCKER_HOST to an engine that has them"}
	}
	e.version = Version{Engine: v.Version, API: e.api.ClientVersion(), Arch: v.Arch, Kernel: v.KernelVersion}
	return nil
}

// unreachable finds out why, since the client's own message has lost the reason: it dials once more and looks at the error number.
func (e *Engine) unreachable(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil {
		if silence := (*Error)(nil); errors.As(context.Cause(ctx), &silence) {
			return silence
		}
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	}
	url, parseErr := client.ParseHostURL(e.host)
	if parseErr != nil || !client.IsErrConnectionFailed(err) {
		return e.explain(doing, err)
	}
	network := "tcp"
	if url.Scheme == "unix" {
		network = "unix"
	}
	var dialer net.Dialer
	conn, dialErr := dialer.DialContext(ctx, network, url.Host) // for a unix socket, the client puts its path there
	if dialErr == nil {
		return errors.Join(e.explain(doing, err), conn.Close())
	}
	switch {
	case errors.Is(dialErr, fs.ErrNotExist):
		return &Error{Doing: doing, Kind: ErrNoSocket, Err: dialErr,
			Hint: "install Docker and start it (systemctl start docker), or set DOCKER_HOST to where an engine listens"}
	case errors.Is(dialErr, fs.ErrPermission):
		return &Error{Doing: doing, Kind: ErrPermission, Err: dialErr,
			Hint: "add yourself to the group that owns the socket (sudo usermod -aG docker $USER, then log in again), " +
				"or set DOCKER_HOST to an engine you may use"}
	case errors.Is(dialErr, syscall.ECONNREFUSED):
		return &Error{Doing: doing, Kind: ErrNotAnswering, Err: dialErr,
			Hint: "nothing listens there: start the engine (systemctl start docker), or correct DOCKER_HOST"}
	default:
		return &Error{Doing: doing, Kind: ErrNotAnswering, Err: dialErr, Hint: "check DOCKER_HOST and the way there"}
	}
}
