package harness

import (
	"context"
	"fmt"
	"time"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
)

// follower collects the events of the demux, for the windows of a lab.
type follower struct {
	events chan control.Event
	stop   context.CancelFunc
	ended  chan struct{}
	err    error // written before ended is closed
}

// follow returns once the demux is being watched: whatever it learns from then on is
// collected, until stop is called.
func (l *Lab) follow(ctx context.Context) (*follower, error) {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx)) // until stopFollowing
	f := &follower{events: make(chan control.Event, 4096), stop: stop, ended: make(chan struct{})}
	ready := make(chan struct{})
	go func() {
		defer close(f.ended)
		f.err = l.Demux().Watch(ctx, func() { close(ready) }, func(e control.Event) error {
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
		stop()
		return nil, fmt.Errorf("watching the demux's events: %w", f.err)
	}
}

// pending is how many events have come that were not collected.
func (f *follower) pending() int { return len(f.events) }

// collect takes events until they are enough, or none has come for long.
func (f *follower) collect(ctx context.Context, enough func([]control.Event) bool) (all []control.Event, err error) {
	for {
		for n := f.pending(); n > 0; n-- {
			all = append(all, <-f.events)
		}
		if enough(all) {
			return all, nil
		}
		select {
		case e := <-f.events:
			all = append(all, e)
		case <-time.After(stillFor):
			return all, nil
		case <-f.ended:
			return all, fmt.Errorf("waiting for an event of the demux: %w", f.err)
		case <-ctx.Done():
			return all, fmt.Errorf("waiting for an event of the demux: %w", context.Cause(ctx))
		}
	}
}

// keepFollowing gives the lab's follower, and starts it unless it is there.
func (l *Lab) keepFollowing(ctx context.Context) (*follower, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.follower == nil {
		f, err := l.follow(ctx)
		if err != nil {
			return nil, err
		}
		l.follower = f
	}
	return l.follower, nil
}

// stopFollowing ends the lab's follower and tells whether there was one. The open
// window misses events then.
func (l *Lab) stopFollowing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.follower == nil {
		return false
	}
	l.follower.stop()
	<-l.follower.ended
	l.follower = nil
	if l.window != nil {
		l.window.eventsMissed.Store(true)
	}
	return true
}
