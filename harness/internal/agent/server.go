package agent

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"time"
)

// untilHeader marks a stream that goes on until the request's body ends: the orderly way to stop a server, which then sends its last events and its report.
// Cancelling the call stops it as well, but leaves the caller without knowing when.
const untilHeader = "Vlandemux-Until-Body-Ends"

// Server is a server which runs in an agent until its context ends or Close is called.
type Server struct {
	address netip.AddrPort

	stop   func() error // ends the request's body
	cancel context.CancelFunc
	done   chan struct{}
	err    error // written before done is closed
}

// Address is where it listens; the port is the kernel's if none was asked for.
func (s *Server) Address() netip.AddrPort { return s.address }

// Close stops the server and returns when it has closed its sockets and its last event was handed on. It returns the error that had ended
// the server before, if any. Safe to call again.
func (s *Server) Close() error {
	s.stop() //nolint:errcheck // a pipe's end never fails to close
	timer := time.NewTimer(stopTime)
	defer timer.Stop()
	select {
	case <-s.done:
	case <-timer.C:
		s.cancel()
		<-s.done
		return fmt.Errorf("stopping the server on %s: it had not stopped after %v, and its call was cancelled", s.address, stopTime)
	}
	return s.err
}

// Done is closed when the server has ended.
func (s *Server) Done() <-chan struct{} { return s.done }

// startServer calls path, whose stream begins with a ready line, and returns then. event, which may be nil, runs in the server's own goroutine.
func startServer[Request, Event, Report any](ctx context.Context, c *Client, path string, request Request, event func(Event) error) (*Server, error) {
	held, release := io.Pipe()
	ctx, cancel := context.WithCancel(ctx)
	// The transport looks at the context only between reads of the body: wake it.
	context.AfterFunc(ctx, func() { held.CloseWithError(context.Cause(ctx)) }) //nolint:errcheck // a pipe's end never fails to close
	s := &Server{stop: release.Close, cancel: cancel, done: make(chan struct{})}
	listening := make(chan struct{})
	go func() {
		defer close(s.done)
		defer cancel()
		_, err := callStream[Request, Event, Report](ctx, c, path, request, held, func(address netip.AddrPort) {
			s.address = address
			close(listening)
		}, event)
		if ctx.Err() == nil {
			s.err = err
		}
	}()
	select {
	case <-listening:
		return s, nil
	case <-s.done:
		select {
		case <-listening: // it listened, and ended at once: its owner learns of it by Done and Close
			return s, nil
		default:
		}
		if s.err == nil {
			return nil, fmt.Errorf("calling %s: %w", path, context.Cause(ctx))
		}
		return nil, s.err
	}
}
