package harness

import (
	"context"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
	"github.com/vlandemux/vlandemux/harness/internal/ledger"
)

// counters are those of the demux. A dataplane of another contract has none.
func (l *Lab) counters(ctx context.Context) (control.Counters, error) {
	if l.Topology.Demux.Contract != nil {
		return control.Counters{}, nil
	}
	return l.Demux().Counters(ctx)
}

// watchDemux sees that events are collected, and gives the counters before any that come.
func (l *Lab) watchDemux(ctx context.Context) (control.Counters, error) {
	if l.Topology.Demux.Contract == nil {
		if _, err := l.keepFollowing(ctx); err != nil {
			return control.Counters{}, err
		}
	}
	return l.counters(ctx)
}

// askDemux adds what the demux says of itself, for the ledger. Afterwards watching
// tells whether events could be collected to the end.
func (w *Window) askDemux(ctx context.Context, in *ledger.Input) (watching func() error, err error) {
	if w.lab.Topology.Demux.Contract != nil {
		return func() error { return nil }, nil
	}
	if in.After, err = w.lab.counters(ctx); err != nil {
		return nil, err
	}
	if in.Assignments, err = w.lab.Demux().Assignments(ctx); err != nil {
		return nil, err
	}
	if err := w.lab.checkAttached(ctx); err != nil {
		return nil, err
	}
	follower, err := w.lab.keepFollowing(ctx)
	if err != nil {
		return nil, err
	}
	var broken error
	in.Events = func(enough func([]control.Event) bool) (events []control.Event) {
		events, broken = follower.collect(ctx, enough)
		w.lab.tell(events, in.Assignments)
		return events
	}
	return func() error { return broken }, nil
}
