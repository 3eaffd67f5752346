package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"
)

// Role is what an agent is there for.
type Role string

// The roles. Host alone touches the kernel's configuration; the others use sockets only.
const (
	RoleHost   Role = "host"
	RoleClient Role = "client"
	RoleWorker Role = "worker"
)

// stopTime is how long calls may take to notice that the stream is gone; past it the agent exits all the same.
const stopTime = 5 * time.Second

// greeting is what an agent is sent first. A container that starts while its engine is killed has a standard input that nobody writes to and
// that does not end: without a greeting its agent exits.
const greeting = "\n"

// greetingTime is how long an agent waits for the greeting.
const greetingTime = time.Minute

// Config of an agent.
type Config struct {
	Role Role
	// Demux is the path of the program under test. A host's alone.
	Demux string
	Log   *slog.Logger
}

// Serve runs an agent: it answers calls from in and out until in ends, ctx ends or a SIGTERM or SIGINT arrives, then stops all it
// started and returns. The end of the stream is not an error. As process 1 it also reaps the orphans that the kernel hands it.
func Serve(ctx context.Context, in io.Reader, out io.Writer, config Config) error {
	role, log := config.Role, config.Log
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()
	// A broken standard output must end the agent the orderly way; unless someone asks for SIGPIPE, the runtime dies of it.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)

	processes := newProcesses()
	if os.Getpid() == 1 {
		go processes.reap(ctx, log)
	}
	mux := http.NewServeMux()
	var closeRole func() error
	switch role {
	case RoleHost:
		h, err := newHost(ctx, processes, config)
		if err != nil {
			return fmt.Errorf("starting the host's agent: %w", err)
		}
		h.routes(mux)
		closeRole = h.close
	case RoleClient, RoleWorker:
	default:
		return fmt.Errorf("starting an agent: unknown role %q; the roles are host, client and worker", role)
	}
	commonRoutes(mux)

	log.Debug("agent serving", "role", role, "pid", os.Getpid())
	err := serveStream(ctx, newStreamConn(in, out, nil), mux)
	if closeRole != nil {
		err = errors.Join(err, closeRole())
	}
	log.Info("agent ending", "role", role, "error", err)
	return err
}

// commonRoutes are what every role answers.
func commonRoutes(mux *http.ServeMux) {
	footprintRoutes(mux)
	trafficRoutes(mux)
}

// serveStream answers calls on one connection until it or ctx ends, and returns when the calls have.
func serveStream(ctx context.Context, conn *streamConn, handler http.Handler) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := awaitGreeting(ctx, conn, greetingTime); err != nil {
		return err
	}
	calls := newCallTracker()
	server := &http.Server{
		Protocols: cleartextHTTP2(),
		HTTP2:     windows(),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if calls.begin() {
				defer calls.end()
				serveCall(handler, w, r)
			}
		}),
	}
	listener := newOneListener(conn)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	var err error
	select {
	case err = <-served:
	case <-ctx.Done():
		err = server.Close() // closes the connection, which cancels each call's context
	}
	if errors.Is(err, errStreamEnded) {
		err = nil
	}
	select {
	case <-calls.drain():
	case <-time.After(stopTime):
		err = errors.Join(err, fmt.Errorf("ending the agent: some calls still ran %v after the stream had ended", stopTime))
	}
	return err
}

// awaitGreeting reads the greeting. The end of the stream is not an error: the server meets it next.
func awaitGreeting(ctx context.Context, in io.Reader, patience time.Duration) error {
	greeted := make(chan struct{})
	go func() {
		defer close(greeted)
		_, _ = io.ReadFull(in, make([]byte, len(greeting)))
	}()
	select {
	case <-greeted:
		return nil
	case <-ctx.Done():
		return nil
	case <-time.After(patience):
		return fmt.Errorf("starting the agent: nobody spoke to it within %v", patience)
	}
}

// serveCall makes an error of a panic, so that the caller reads of it instead of a reset stream.
func serveCall(handler http.Handler, w http.ResponseWriter, r *http.Request) {
	defer func() {
		reason := recover()
		if reason == nil {
			return
		}
		if reason == http.ErrAbortHandler { //nolint:errorlint // a value of its own, never wrapped
			panic(reason)
		}
		fail(w, http.StatusInternalServerError, fmt.Errorf("the agent has a bug in %s: %v\n%s", r.URL.Path, reason, debug.Stack()), nil)
	}()
	handler.ServeHTTP(w, r)
}

// callTracker counts the calls that run. A WaitGroup would not do: the HTTP/2 server may begin a call while others are waited for.
type callTracker struct {
	mu       sync.Mutex
	running  int           // guarded by mu
	draining bool          // guarded by mu
	idle     chan struct{} // closed once draining and nothing runs
}

func newCallTracker() *callTracker { return &callTracker{idle: make(chan struct{})} }

// begin is false when no call may begin any more.
func (t *callTracker) begin() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.draining {
		return false
	}
	t.running++
	return true
}

func (t *callTracker) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running--
	if t.draining && t.running == 0 {
		close(t.idle)
	}
}

// drain refuses further calls; the channel is closed when the last has ended. To be called once.
func (t *callTracker) drain() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.draining = true
	if t.running == 0 {
		close(t.idle)
	}
	return t.idle
}
