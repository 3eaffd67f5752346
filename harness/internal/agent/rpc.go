package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"sync"
)

// Nothing is what a call takes or gives when there is nothing to say.
type Nothing struct{}

// RemoteError is an error which happened in the agent, with its whole text.
type RemoteError struct{ Text string }

func (e *RemoteError) Error() string { return e.Text }

// line is one line of an answer. The last is "done", or "error" with the report as far as it got: an answer that breaks off without has failed.
type line[Event, Report any] struct {
	Type    string         `json:"type"` // "ready", "event", "done" or "error"
	Address netip.AddrPort `json:"address,omitzero"`
	Event   *Event         `json:"event,omitempty"`
	Report  *Report        `json:"report,omitempty"`
	Error   string         `json:"error,omitempty"`
}

// emitter writes the lines of an answer, each but the last flushed at once. Safe for concurrent use.
type emitter[Event, Report any] struct {
	mu sync.Mutex
	w  http.ResponseWriter
}

// Ready says that the server listens on address, or with a zero address that the work has begun.
func (e *emitter[Event, Report]) Ready(address netip.AddrPort) {
	_ = e.flush(line[Event, Report]{Type: "ready", Address: address})
}

// Event reports something that happened. It blocks while the caller does not read.
func (e *emitter[Event, Report]) Event(event Event) {
	_ = e.flush(line[Event, Report]{Type: "event", Event: &event})
}

// end is the last line. It leaves with the end of the answer, which the handler's return is: flushed, it would be read before that end
// has come, and a caller who does not wait for it resets the stream.
func (e *emitter[Event, Report]) end(report *Report, err error) {
	if err == nil {
		err = e.write(line[Event, Report]{Type: "done", Report: report})
		report = nil // it cannot be encoded, or the caller has gone
	}
	if err != nil {
		_ = e.write(line[Event, Report]{Type: "error", Error: err.Error(), Report: report})
	}
}

// write fails if a line cannot be encoded, or the caller has gone, which ends the call's context: the work learns of it there.
func (e *emitter[Event, Report]) write(l line[Event, Report]) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := json.NewEncoder(e.w).Encode(l); err != nil {
		return fmt.Errorf("encoding an answer: %w", err)
	}
	return nil
}

// flush is write for a line that does not wait for the next.
func (e *emitter[Event, Report]) flush(l line[Event, Report]) error {
	if err := e.write(l); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return http.NewResponseController(e.w).Flush()
}

// handle serves one call: a JSON request, one JSON reply. When fn fails, its reply travels beside the error.
func handle[Request, Reply any](mux *http.ServeMux, path string, fn func(context.Context, Request) (Reply, error)) {
	handleStream(mux, path, func(ctx context.Context, request Request, _ *emitter[Nothing, Reply]) (Reply, error) {
		return fn(ctx, request)
	})
}

// handleStream serves one call whose answer is a stream of events and, at its end, a report.
func handleStream[Request, Event, Report any](
	mux *http.ServeMux, path string,
	fn func(context.Context, Request, *emitter[Event, Report]) (Report, error),
) {
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		e := &emitter[Event, Report]{w: w}
		var request Request
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			e.end(nil, fmt.Errorf("reading the request to %s: %w", path, err))
			return
		}
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		if r.Header.Get(untilHeader) != "" {
			go func() {
				if _, err := io.Copy(io.Discard, r.Body); err == nil {
					cancel()
				}
			}()
		}
		report, err := fn(ctx, request, e)
		e.end(&report, err)
	})
}

// call asks for one reply. The reply is filled in as far as the agent got, also when err is not nil.
func call[Request, Reply any](ctx context.Context, c *Client, path string, request Request) (Reply, error) {
	return callStream[Request, Nothing, Reply](ctx, c, path, request, nil, nil, nil)
}

// callStream asks for a stream and hands on its lines until its end. ready and event run one after another in this goroutine;
// either may be nil. The report is filled in as far as the agent got, also when err is not nil. The end of until, if it is not nil, asks for the stream's.
func callStream[Request, Event, Report any](
	ctx context.Context, c *Client, path string, request Request, until io.ReadCloser,
	ready func(netip.AddrPort), event func(Event) error,
) (report Report, err error) {
	body, err := open(ctx, c, path, request, until)
	if err != nil {
		return report, err
	}
	defer body.Close() //nolint:errcheck // only read
	for decoder := json.NewDecoder(body); ; {
		var l line[Event, Report]
		if err := decoder.Decode(&l); err != nil {
			return report, fmt.Errorf("reading the agent's answer to %s: %w", path, err)
		}
		if l.Report != nil {
			report = *l.Report
		}
		switch {
		case l.Type == "ready" && ready != nil:
			ready(l.Address)
		case l.Type == "event" && event != nil && l.Event != nil:
			if err := event(*l.Event); err != nil {
				return report, fmt.Errorf("reading the agent's answer to %s: %w", path, err)
			}
		case l.Type == "done":
			return report, nil
		case l.Type == "error":
			return report, &RemoteError{Text: l.Error}
		}
	}
}

// open sends the request, which goes on until the end of until if that is not nil, and returns the body of the answer.
func open(ctx context.Context, c *Client, path string, request any, until io.ReadCloser) (io.ReadCloser, error) {
	content, err := json.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("encoding the request to %s: %w", path, err)
	}
	content = append(content, '\n') // nothing else ends a number, while the body goes on
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, baseURL+path, bytes.NewReader(content))
	if err != nil {
		return nil, fmt.Errorf("making the request to %s: %w", path, err)
	}
	if until != nil {
		r.Header.Set(untilHeader, "1")
		// The transport closes the body when the server has failed: only closing the pipe wakes whoever reads it.
		r.Body, r.ContentLength = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(r.Body, until), until}, -1
	}
	response, err := c.RoundTripper().RoundTrip(r) //nolint:bodyclose // the body is returned: the caller closes it
	if err != nil {
		return nil, fmt.Errorf("calling %s: %w", path, err)
	}
	body := &answerBody{response.Body, ctx, c}
	if response.StatusCode == http.StatusOK {
		return body, nil
	}
	defer body.Close()            //nolint:errcheck // only read
	text, err := io.ReadAll(body) // there is no such route, or it failed before the first octet
	return nil, errors.Join(&RemoteError{Text: fmt.Sprintf("calling %s: %s: %s", path, response.Status, bytes.TrimSpace(text))}, err)
}

// answerBody says why it broke off.
type answerBody struct {
	io.ReadCloser
	ctx    context.Context
	client *Client
}

// Read gives the better reason for an error: the caller's context, or the stream.
func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == nil || errors.Is(err, io.EOF) {
		return n, err
	}
	if b.ctx.Err() != nil {
		return n, context.Cause(b.ctx)
	}
	select {
	case <-b.client.Done():
		return n, &StreamError{Cause: b.client.watch.cause()}
	default:
		return n, err
	}
}
