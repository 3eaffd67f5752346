package control

import (
	"context"
	"sync"
	"time"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

const (
	// mergeInterval is the least time between two merged events of a client.
	mergeInterval = time.Second
	// mergeTick is how late one may be.
	mergeTick = 100 * time.Millisecond
)

// merger publishes the first event of a client at once, and those of the second after it as one: a MAC that is
// in two places at a time moves with every frame.
type merger struct {
	hub *hub[Event]

	mu      sync.Mutex
	pending map[mergeKey]*mergedEvent // guarded by mu
	queue   []*mergedEvent            // guarded by mu; by the time they are due
}

// mergeKey is of a client's changes of place, or of its frames where it may not be: these are told of already no more
// than once a second, and are not merged with the others.
type mergeKey struct {
	mac   demux.MAC
	wrong bool
}

func keyOf(e Event) mergeKey {
	return mergeKey{mac: e.MAC, wrong: e.Type == string(demux.EventWrongPlace)}
}

// mergedEvent is what came since the last event of the client was published.
type mergedEvent struct {
	key   mergeKey
	event Event // only if Merged is not 0
	due   time.Time
}

func newMerger() *merger {
	return &merger{hub: newHub[Event](), pending: make(map[mergeKey]*mergedEvent)}
}

func (m *merger) add(e Event, now time.Time) {
	if m.hub.empty() {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pending[keyOf(e)]
	switch {
	case p == nil:
		m.hub.publish(e)
		m.wait(&mergedEvent{key: keyOf(e), due: now.Add(mergeInterval)})
	case p.event.Merged == 0:
		p.event = e
		p.event.Merged = 1
	default:
		p.event.Merged++
		p.event.To, p.event.Time = e.To, e.Time
		switch {
		case e.To == nil || p.key.wrong:
			p.event.Type = e.Type
		case p.event.From == nil:
			p.event.Type = string(demux.EventLearned)
		default:
			p.event.Type = string(demux.EventMoved)
		}
	}
}

// wait must be called with mu held.
func (m *merger) wait(p *mergedEvent) {
	m.pending[p.key] = p
	m.queue = append(m.queue, p)
}

func (m *merger) flush(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.queue) > 0 && !m.queue[0].due.After(now) {
		p := m.queue[0]
		m.queue = m.queue[1:]
		delete(m.pending, p.key)
		if p.event.Merged == 0 {
			continue
		}
		if p.event.Merged == 1 {
			p.event.Merged = 0 // itself alone
		}
		m.hub.publish(p.event)
		m.wait(&mergedEvent{key: p.key, due: now.Add(mergeInterval)})
	}
}

func (m *merger) run(ctx context.Context) {
	ticker := time.NewTicker(mergeTick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			m.flush(now)
		}
	}
}
