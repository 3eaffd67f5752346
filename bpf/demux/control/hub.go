package control

import (
	"sync"
)

// backlog is how many events a reader may fall behind before it is let go.
const backlog = 4096

// hub hands each event to every subscriber without waiting for any of them.
type hub struct {
	mu          sync.Mutex
	subscribers map[*subscriber]struct{} // guarded by mu
	ended       error                    // guarded by mu; set once, then nobody can subscribe
}

// subscriber receives events until its channel is closed; ended then says why.
type subscriber struct {
	events chan Event
	// cut is called once, from publish or end, when the hub lets go of the subscriber.
	cut   func()
	ended error // written before events is closed, read after
}

func newHub() *hub { return &hub{subscribers: make(map[*subscriber]struct{})} }

// subscribe adds a subscriber that sees whatever is published from now on.
func (h *hub) subscribe(cut func()) (*subscriber, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended != nil {
		return nil, h.ended
	}
	s := &subscriber{events: make(chan Event, backlog), cut: cut}
	h.subscribers[s] = struct{}{}
	return s, nil
}

// unsubscribe forgets a subscriber that left by itself. It is idempotent.
func (h *hub) unsubscribe(s *subscriber) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.subscribers, s)
}

// publish hands e to every subscriber and lets go of those without room for it.
func (h *hub) publish(e Event) {
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
func (h *hub) end(reason error) {
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
func (h *hub) release(s *subscriber, reason error) {
	delete(h.subscribers, s)
	s.ended = reason
	close(s.events)
	s.cut()
}
