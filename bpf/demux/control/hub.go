package control

import (
	"sync"
)

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
