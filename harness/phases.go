package harness

import (
	"slices"
	"time"
)

// Phase is a part of a lab's life.
type Phase struct {
	Name  string        // "containers"; a step of one is "wiring: links"
	Start time.Duration // since the lab's start
	Took  time.Duration
}

// PhaseNames are the phases in their order. Between the last "attach" and "close", what is neither "quiet" nor "ledger" is the
// scenario's traffic.
func PhaseNames() []string {
	return []string{"containers", "wiring", "attach", "quiet", "ledger", "close"}
}

// Phases are those that have ended, in the order of their ends.
func (l *Lab) Phases() []Phase {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.phases)
}

// phase is to be deferred: phase("wiring")().
func (l *Lab) phase(name string) (end func()) {
	start := time.Now()
	return func() { l.ended(name, start, time.Since(start)) }
}

func (l *Lab) ended(name string, start time.Time, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.phases = append(l.phases, Phase{Name: name, Start: start.Sub(l.started), Took: took})
}
