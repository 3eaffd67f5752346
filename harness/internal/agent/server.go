package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
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
	content, err := json.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("encoding the request to %s: %w", path, err)
	}
	content = append(content, '\n') // nothing else ends a number, while the body goes on
	held, release := io.Pipe()
	ctx, cancel := context.WithCancel(ctx)
	// The transport looks at the context only between reads of the body: wake it.
	context.AfterFunc(ctx, func() { held.CloseWithError(context.Cause(ctx)) }) //nolint:errcheck // a pipe's end never fails to close
	s := &Server{stop: release.Close, cancel: cancel, done: make(chan struct{})}
	listening := make(chan struct{})
	go func() {
		defer close(s.done)
		defer cancel()
		// The transport closes the body when the server has failed: only closing the pipe wakes whoever reads it.
		body := struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(content), held), held}
		err := serveUntil[Event, Report](ctx, c, path, body, func(address netip.AddrPort) {
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

func serveUntil[Event, Report any](ctx context.Context, c *Client, path string, content io.ReadCloser, ready func(netip.AddrPort), event func(Event) error) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, baseURL+path, content)
	if err != nil {
		return fmt.Errorf("making the request to %s: %w", path, err)
	}
	r.Header.Set(untilHeader, "1")
	response, err := c.answer(r, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // only read
	var report Report
	return readStream(path, response.Body, &report, ready, event)
}
