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

// collect takes events until they are enough, or none has come for long.
func (f *Follower) collect(ctx context.Context, enough func([]control.Event) bool) (all []control.Event, err error) {
	for {
		for n := f.Pending(); n > 0; n-- {
			all = append(all, <-f.events)
		}
		if enough(all) {
			return all, nil
		}
		next, cancel := context.WithTimeout(ctx, stillFor)
		e, err := f.Next(next)
		cancel()
		switch {
		case next.Err() != nil && ctx.Err() == nil:
			return all, nil
		case err != nil:
			return all, err
		}
		all = append(all, e)
	}
}

// keepFollowing gives the lab's own follower, and starts it unless it is there.
func (l *Lab) keepFollowing(ctx context.Context) (*Follower, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.follower != nil {
		return l.follower, nil
	}
	watch, stop := context.WithCancel(context.WithoutCancel(ctx)) // for the lab's life
	f, err := l.Follow(watch)
	if err != nil {
		stop()
		return nil, fmt.Errorf("watching the demux's events: %w", err)
	}
	l.follower, l.stopFollower = f, stop
	return f, nil
}

// stopFollowing ends the lab's own follower and tells whether there was one. The
// open window misses events then.
func (l *Lab) stopFollowing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.follower == nil {
		return false
	}
	l.stopFollower()
	<-l.follower.ended
	l.follower = nil
	if l.window != nil {
		l.window.eventsMissed.Store(true)
	}
	return true
}

// Pending is how many events have come and were not yet taken by Next.
func (f *Follower) Pending() int { return len(f.events) }
