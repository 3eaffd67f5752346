package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"sync"
)

// line is one line of a stream of events. A stream that breaks off without "done" or "error" has failed.
type line[Event, Report any] struct {
	Type    string         `json:"type"` // "ready", "event", "done" or "error"
	Address netip.AddrPort `json:"address,omitzero"`
	Event   *Event         `json:"event,omitempty"`
	Report  *Report        `json:"report,omitempty"`
	Error   string         `json:"error,omitempty"`
}

// emitter writes the lines of a stream, each flushed at once. Safe for concurrent use.
type emitter[Event, Report any] struct {
	mu      sync.Mutex
	w       http.ResponseWriter
	started bool
	encoder *json.Encoder
}

// Ready says that the server listens on address, or with a zero address that the work has begun.
func (e *emitter[Event, Report]) Ready(address netip.AddrPort) {
	e.write(line[Event, Report]{Type: "ready", Address: address})
}

// Event reports something that happened. It blocks while the caller does not read.
func (e *emitter[Event, Report]) Event(event Event) {
	e.write(line[Event, Report]{Type: "event", Event: &event})
}

func (e *emitter[Event, Report]) write(l line[Event, Report]) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.started {
		e.started = true
		e.w.Header().Set("Content-Type", "application/x-ndjson")
	}
	// A failure here means that the caller has gone, which ends the call's context: the work learns of it there.
	if err := e.encoder.Encode(l); err == nil {
		http.NewResponseController(e.w).Flush() //nolint:errcheck // as above
	}
}

// handleStream serves one call whose answer is a stream of events and, at its end, a report.
func handleStream[Request, Event, Report any](
	mux *http.ServeMux, path string,
	fn func(context.Context, Request, *emitter[Event, Report]) (Report, error),
) {
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		var request Request
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			fail(w, http.StatusBadRequest, fmt.Errorf("reading the request to %s: %w", path, err), nil)
			return
		}
		e := &emitter[Event, Report]{w: w, encoder: json.NewEncoder(w)}
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
		switch {
		case err == nil:
			e.write(line[Event, Report]{Type: "done", Report: &report})
		case !e.started:
			fail(w, http.StatusInternalServerError, err, report)
		default:
			e.write(line[Event, Report]{Type: "error", Error: err.Error(), Report: &report})
		}
	})
}

// callStream asks for a stream and hands on its lines until its end. ready and event run one after another in this goroutine;
// either may be nil. The report is filled in as far as the agent got, also when err is not nil.
func callStream[Request, Event, Report any](
	ctx context.Context, c *Client, path string, request Request,
	ready func(netip.AddrPort), event func(Event) error,
) (Report, error) {
	var report Report
	body, err := open(ctx, c, path, request, &report)
	if err != nil {
		return report, err
	}
	defer body.Close() //nolint:errcheck // only read
	err = readStream(path, body, &report, ready, event)
	return report, err
}

// readStream hands on the lines of a stream until its end.
func readStream[Event, Report any](
	path string, body io.Reader, report *Report, ready func(netip.AddrPort), event func(Event) error,
) error {
	for decoder := json.NewDecoder(body); ; {
		var l line[Event, Report]
		if err := decoder.Decode(&l); err != nil {
			return fmt.Errorf("reading the agent's events from %s: %w", path, err)
		}
		if l.Report != nil {
			*report = *l.Report
		}
		switch l.Type {
		case "ready":
			if ready != nil {
				ready(l.Address)
			}
		case "event":
			if event != nil && l.Event != nil {
				if err := event(*l.Event); err != nil {
					return fmt.Errorf("reading the agent's events from %s: %w", path, err)
				}
			}
		case "done":
			return nil
		case "error":
			return &RemoteError{Text: l.Error}
		default:
			return fmt.Errorf("reading the agent's events from %s: unknown line type %q: are agent and client of one version?", path, l.Type)
		}
	}
}
