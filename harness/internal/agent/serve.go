package agent

import (
	"bytes"
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

// patience is how long the harness may be silent before the agent asks whether it is there, and half of how long it may take to answer. A container's
// standard input ends with the harness, but not with an engine that is killed: the process that watches the container holds it open.
const patience = 30 * time.Second

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
	// A broken standard output must end the agent the orderly way; unless someone asks for SIGPIPE, the Go runtime ends the process on it.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)

	if os.Getpid() == 1 {
		go reap(ctx)
	}
	mux := http.NewServeMux()
	var closeRole func() error
	switch role {
	case RoleHost:
		h, err := newHost(config)
		if err != nil {
			return fmt.Errorf("starting the host's agent: %w", err)
		}
		h.routes(mux)
		closeRole = h.close
	case RoleClient, RoleWorker:
	default:
		return fmt.Errorf("starting an agent: unknown role %q; the roles are host, client and worker", role)
	}
	handle(mux, "/footprint", func(context.Context, Nothing) (Footprint, error) { return footprint() })
	trafficRoutes(mux)

	log.Debug("agent serving", "role", role, "pid", os.Getpid())
	err := serveStream(ctx, newStreamConn(in, out, nil), mux, patience)
	if closeRole != nil {
		err = errors.Join(err, closeRole())
	}
	log.Info("agent ending", "role", role, "error", err)
	return err
}

// serveStream answers calls on one connection until it or ctx ends or the other end is silent for too long, and returns when the calls have.
func serveStream(ctx context.Context, conn *streamConn, handler http.Handler, patience time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := awaitFirst(ctx, conn, patience); err != nil {
		return err
	}
	config := windows()
	config.SendPingTimeout, config.PingTimeout = patience, 2*patience
	var calls sync.RWMutex // read-locked by each call that runs
	server := &http.Server{
		Protocols: cleartextHTTP2(),
		HTTP2:     config,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if calls.TryRLock() { // not once somebody waits for the last
				defer calls.RUnlock()
				serveCall(handler, w, r)
			}
		}),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(newOneListener(conn)) }()

	var err error
	select {
	case err = <-served:
	case <-ctx.Done():
		err = server.Close() // closes the connection, which cancels each call's context
	}
	if errors.Is(err, errStreamEnded) {
		err = nil
	}
	idle := make(chan struct{})
	go func() {
		calls.Lock()
		close(idle)
	}()
	select {
	case <-idle:
	case <-time.After(stopTime):
		err = errors.Join(err, fmt.Errorf("ending the agent: some calls still ran %v after the stream had ended", stopTime))
	}
	return err
}

// awaitFirst waits for the first octet, and leaves it to be read. The end of the stream is no error: the server meets it next.
func awaitFirst(ctx context.Context, conn *streamConn, patience time.Duration) error {
	in, first, came := conn.Reader, make([]byte, 1), make(chan int, 1)
	go func() {
		n, _ := io.ReadFull(in, first)
		came <- n
	}()
	select {
	case n := <-came:
		conn.Reader = io.MultiReader(bytes.NewReader(first[:n]), in)
		return nil
	case <-ctx.Done():
		return nil
	case <-time.After(patience):
		return fmt.Errorf("starting the agent: nobody has spoken to it within %v", patience)
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
		e := emitter[Nothing, Nothing]{w: w}
		e.end(nil, fmt.Errorf("the agent has a bug in %s: %v\n%s", r.URL.Path, reason, debug.Stack()))
	}()
	handler.ServeHTTP(w, r)
}
