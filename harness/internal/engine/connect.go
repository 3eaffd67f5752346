package engine

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
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
	// loginTimeout is how long ssh may take before that: twelve logins at once took more than ten seconds on two processors that had other work.
	loginTimeout = 30 * time.Second
)

// Connect reaches the engine at an address: tcp://, unix:// or ssh:// as in DOCKER_HOST, or the name of a context of the docker command. When it is
// empty, the engine that DOCKER_HOST names, else that of the docker command's current context, else the one at its usual socket. The variables
// DOCKER_API_VERSION, DOCKER_CERT_PATH and DOCKER_TLS_VERIFY are honoured as well.
//
// Errors match [ErrNoSocket], [ErrPermission], [ErrNotAnswering] or [ErrTooOld], and say what to do.
func Connect(ctx context.Context, address string) (*Engine, error) {
	return connect(ctx, address, connectTimeout)
}

// connect gives the engine the timeout's time for its answers.
func connect(ctx context.Context, address string, timeout time.Duration) (*Engine, error) {
	e := &Engine{address: address, guard: newGuard(address), patience: 3 * connectTimeout}
	e.closing, e.close = context.WithCancel(context.WithoutCancel(ctx))
	err := e.reach(ctx)
	if err == nil {
		greeted, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("%w within %v", errNoAnswer, timeout))
		defer cancel()
		err = e.greet(greeted)
	}
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// schemes are what addresses begin with.
func schemes() []string { return []string{"unix", "tcp", "ssh"} }

// errNoAnswer is the cause when an engine has not answered in time.
var errNoAnswer = errors.New("no answer")

// reach makes the client of the API, for [Engine.address].
func (e *Engine) reach(ctx context.Context) error {
	opts := []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation()}
	name, host := "", cmp.Or(e.address, os.Getenv("DOCKER_HOST"))
	var err error
	switch {
	case host == "":
		if name, err = currentContext(); err != nil {
			return fmt.Errorf("connecting to Docker: %w", err)
		}
	case e.address == "default": // what is used without a context, and no context itself
		host = os.Getenv("DOCKER_HOST")
	case host == e.address && !strings.Contains(host, "://"):
		name, host = host, ""
	default:
	}
	if name != "" {
		var certificates *tls.Config
		if host, certificates, err = readContext(name); err != nil {
			return fmt.Errorf("connecting to Docker with context %q: %w", name, err)
		}
		opts = []client.Opt{client.WithVersionFromEnv(), client.WithAPIVersionNegotiation()}
		if certificates != nil {
			opts = append(opts, withCertificates(certificates))
		}
	}
	e.host = host
	if scheme, _, is := strings.Cut(host, "://"); is && !slices.Contains(schemes(), scheme) {
		return fmt.Errorf("connecting to Docker at %s: no engine is reached by %q; an address begins with %s", host, scheme, strings.Join(schemes(), "://, ")+"://")
	}
	if strings.HasPrefix(host, "ssh:") {
		ctx, cancel := context.WithTimeoutCause(ctx, loginTimeout, fmt.Errorf("%w within %v", errNoAnswer, loginTimeout))
		defer cancel()
		if e.tunnel, err = openTunnel(ctx, host); err != nil {
			return &Error{Doing: "connecting to Docker at " + host, Kind: ErrNotAnswering, Err: err,
				Hint: "see whether `ssh` gets there without a password; a path in the address names the engine's socket: ssh://HOST/run/user/1000/docker.sock"}
		}
		// Neither DOCKER_HOST nor certificates are for this way.
		opts = []client.Opt{client.WithVersionFromEnv(), client.WithAPIVersionNegotiation(), client.WithHost("unix://" + e.tunnel.socket)}
	} else if host != "" {
		opts = append(opts, client.WithHost(host))
	}
	api, err := client.NewClientWithOpts(opts...)
	if err != nil {
		return fmt.Errorf("connecting to Docker: %w; check DOCKER_HOST and DOCKER_CERT_PATH", err)
	}
	e.api = api
	e.host = cmp.Or(host, e.api.DaemonHost())
	return nil
}

// greet negotiates the API version and learns what the engine is.
func (e *Engine) greet(ctx context.Context) error {
	doing := "connecting to Docker at " + e.host
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
	if silence := context.Cause(ctx); errors.Is(silence, errNoAnswer) {
		return e.advise(doing, silence)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	}
	if e.tunnel != nil {
		return &Error{Doing: doing, Kind: ErrNotAnswering, Err: cmp.Or(lastWords(e.tunnel.stderr), err),
			Hint: "see whether an engine runs there, and whether this user may use its socket"}
	}
	url, parseErr := client.ParseHostURL(e.host)
	if parseErr != nil || !client.IsErrConnectionFailed(err) {
		return e.advise(doing, err)
	}
	network := "tcp"
	if url.Scheme == "unix" {
		network = "unix"
	}
	var dialer net.Dialer
	conn, dialErr := dialer.DialContext(ctx, network, url.Host) // for a unix socket, the client puts its path there
	if dialErr == nil {
		return errors.Join(&Error{Doing: doing, Err: err,
			Hint: "something listens there that is no Docker engine, or one that wants other certificates: check the address and DOCKER_CERT_PATH"}, conn.Close())
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
			Hint: "nothing listens there: start the engine (systemctl start docker), or correct its address"}
	default:
		return &Error{Doing: doing, Kind: ErrNotAnswering, Err: dialErr, Hint: "check the address and the way there"}
	}
}
