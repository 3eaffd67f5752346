package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

func (s *Server) getEvents(w http.ResponseWriter, r *http.Request) {
	merge, err := parseFlag(r.URL.Query(), "merge")
	switch {
	case err != nil:
		s.refuse(w, r, err)
	case merge:
		stream(s, w, r, s.merged.hub)
	default:
		stream(s, w, r, s.hub)
	}
}

func (s *Server) getDrops(w http.ResponseWriter, r *http.Request) {
	leave, err := s.drops.join()
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	defer leave()
	stream(s, w, r, s.drops.hub)
}

// stream writes what is published, one JSON object a line, until the reader leaves or the hub lets go of it.
func stream[T any](s *Server, w http.ResponseWriter, r *http.Request, from *hub[T]) {
	controller := http.NewResponseController(w)
	subscriber, err := from.subscribe(func() {
		// A write that nobody reads would otherwise hold its connection for ever.
		_ = controller.SetWriteDeadline(time.Now().Add(writeGrace))
	})
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	defer from.unsubscribe(subscriber)
	w.Header().Set("Content-Type", "application/x-ndjson")
	encoder := json.NewEncoder(w)
	encode := func(line any) error {
		if err := encoder.Encode(line); err != nil {
			return err
		}
		if len(subscriber.events) > 0 {
			return nil // more to come at once: one write for all
		}
		return controller.Flush()
	}
	if err := encode(streamLine{Type: lineReady}); err != nil {
		return
	}
	// The ready line must not wait for a burst of events to end.
	if err := controller.Flush(); err != nil {
		return
	}
	for {
		select {
		case <-r.Context().Done():
			return
		case e, open := <-subscriber.events:
			if !open {
				_ = encode(streamLine{Type: lineEnd, Error: ending(subscriber.ended)})
				_ = controller.Flush()
				return
			}
			if err := encode(e); err != nil {
				return
			}
		}
	}
}

// ending is the reason why a stream ends, for its last line.
func ending(reason error) *Error {
	if errors.Is(reason, ErrSlowReader) {
		reason = fmt.Errorf("%w: %d events were waiting to be read; connect again", reason, backlog)
	}
	answer, _ := classify(reason)
	return answer
}

// dropReader reads drops from the dataplane while somebody watches them: the dataplane tells of none else.
type dropReader struct {
	hub   *hub[Drop]
	plane Dataplane
	names Names

	mu       sync.Mutex
	watchers int    // guarded by mu
	stop     func() // guarded by mu; ends the reading, nil while there is none
}

// join returns once drops are told. It starts the reading for the first watcher, and the last to leave ends it.
func (d *dropReader) join() (leave func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.watchers == 0 {
		if d.stop, err = d.start(); err != nil {
			return nil, fmt.Errorf("watching drops: %w", err)
		}
	}
	d.watchers++
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.watchers--; d.watchers == 0 {
			d.stop()
		}
	}, nil
}

func (d *dropReader) start() (stop func(), err error) {
	ctx, cancel := context.WithCancel(context.Background())
	began, failed, ended := make(chan struct{}), make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		err := d.plane.ReadDrops(ctx, func() { close(began) }, func(from demux.Drop) error {
			d.hub.publish(drop(d.names, from))
			return nil
		})
		if ctx.Err() == nil {
			if err == nil {
				err = errors.New("the dataplane ended them")
			}
			d.hub.end(fmt.Errorf("reading drops from the dataplane: %w", err))
		}
		failed <- err
	}()
	select {
	case <-began:
		return func() { cancel(); <-ended }, nil
	case err := <-failed:
		cancel()
		return nil, err
	}
}

func drop(names Names, from demux.Drop) Drop {
	return Drop{
		Type: "dropped", Time: from.Time, Reason: from.Reason.String(), MAC: from.MAC, Interface: names.Name(from.Interface),
		Place: location(names, from.Place), Packets: from.Packets,
	}
}

// backlog is how many events a reader may fall behind before it is let go.
const backlog = 4096

// hub hands each event to every subscriber without waiting for any of them.
type hub[T any] struct {
	mu          sync.Mutex
	subscribers map[*subscriber[T]]struct{} // guarded by mu
	ended       error                       // guarded by mu; set once, then nobody can subscribe
}

// subscriber receives events until its channel is closed; ended then says why.
type subscriber[T any] struct {
	events chan T
	// cut is called once, from publish or end, when the hub lets go of the subscriber.
	cut   func()
	ended error // written before events is closed, read after
}

func newHub[T any]() *hub[T] { return &hub[T]{subscribers: make(map[*subscriber[T]]struct{})} }

// subscribe adds a subscriber that sees whatever is published from now on.
func (h *hub[T]) subscribe(cut func()) (*subscriber[T], error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended != nil {
		return nil, h.ended
	}
	s := &subscriber[T]{events: make(chan T, backlog), cut: cut}
	h.subscribers[s] = struct{}{}
	return s, nil
}

// unsubscribe forgets a subscriber that left by itself. It is idempotent.
func (h *hub[T]) unsubscribe(s *subscriber[T]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.subscribers, s)
}

func (h *hub[T]) empty() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.subscribers) == 0
}

// publish hands e to every subscriber and lets go of those without room for it.
func (h *hub[T]) publish(e T) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subscribers {
		select {
		case s.events <- e:
		default:
			h.release(s, ErrSlowReader)
		}
	}
}

// end lets go of every subscriber, now and in future, for the given reason.
func (h *hub[T]) end(reason error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended == nil {
		h.ended = reason
	}
	for s := range h.subscribers {
		h.release(s, h.ended)
	}
}

// release must be called with mu held.
func (h *hub[T]) release(s *subscriber[T], reason error) {
	delete(h.subscribers, s)
	s.ended = reason
	close(s.events)
	s.cut()
}
