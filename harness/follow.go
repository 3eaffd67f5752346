package harness

import (
	"context"
	"fmt"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
)

// Follower hands on what the demux says of its clients.
type Follower struct {
	events chan control.Event
	ended  chan struct{}
	err    error // written before ended is closed
}

// Follow returns once the demux is being watched: whatever it learns from then
// on comes out of Next, in order. It ends with ctx.
func (l *Lab) Follow(ctx context.Context) (*Follower, error) {
	f := &Follower{events: make(chan control.Event, 4096), ended: make(chan struct{})}
	ready := make(chan struct{})
	go func() {
		defer close(f.ended)
		f.err = l.Demux().WatchReady(ctx, func() { close(ready) }, func(e control.Event) error {
			select {
			case f.events <- e:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	select {
	case <-ready:
		return f, nil
	case <-f.ended:
		return nil, f.err
	}
}

// Next is the next event; it waits for one until ctx or the watch ends.
func (f *Follower) Next(ctx context.Context) (control.Event, error) {
	select {
	case e := <-f.events:
		return e, nil
	default:
	}
	select {
	case e := <-f.events:
		return e, nil
	case <-f.ended:
		return control.Event{}, fmt.Errorf("waiting for an event of the demux: %w", f.err)
	case <-ctx.Done():
		return control.Event{}, fmt.Errorf("waiting for an event of the demux: %w", context.Cause(ctx))
	}
}

// Pending is how many events have come and were not yet taken by Next.
func (f *Follower) Pending() int { return len(f.events) }
