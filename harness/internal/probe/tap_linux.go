package probe

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
)

// Tap records what one interface carries. Its methods are safe for concurrent use.
type Tap struct {
	point    TapPoint
	recorder *recorder
	source   source // run and report are called by run alone
	stop     func()
	done     chan struct{}

	// Written by run, to be read once done is closed.
	report TapReport
	err    error
}

// source is where a tap's packets come from.
type source interface {
	// run hands packets over until stop is called, then those that had arrived by then.
	run(handle func(*tapped)) error
	stop()
	// ask has run call answer once it has handed over all that has arrived by now. One
	// may ask at a time.
	ask(answer func())
	// again forgets what was counted, if what is handed over from now on is what a new source would; else nothing changes. An
	// answer may call it.
	again() bool
	// report fills in what only the source knows, once run has returned.
	report(r *TapReport)
	close() error
}

// errRunning is returned for what can only be asked of a stopped tap.
var errRunning = errors.New("the tap is still capturing: stop it first")

// OpenTap taps an interface and returns once it captures: each frame that
// crosses the interface from then on is seen. The interface is one of the calling thread's network
// namespace, where it needs CAP_NET_RAW.
func OpenTap(point TapPoint, opts TapOptions) (*Tap, error) {
	var from source
	var err error
	if len(point.EtherTypes) > 0 {
		from, err = openStack(point)
	} else {
		from, err = openRings(point, opts)
	}
	if err != nil {
		return nil, err
	}
	t := &Tap{
		point: point, source: from,
		recorder: newRecorder(opts.RetainBytes),
		stop:     sync.OnceFunc(from.stop),
		done:     make(chan struct{}),
	}
	go t.run()
	return t, nil
}

func (t *Tap) run() {
	defer close(t.done)
	err := t.source.run(t.recorder.add)
	if err != nil {
		t.err = fmt.Errorf("tapping %s: %w", t.point, err)
	}
	if err := t.source.close(); err != nil {
		t.err = errors.Join(t.err, fmt.Errorf("releasing tap %s: %w", t.point, err))
	}
	t.report = t.reportNow()
}

// reportNow is for run's goroutine.
func (t *Tap) reportNow() TapReport {
	r := TapReport{
		Point: t.point, Frames: t.recorder.total.Load(), Longest: t.recorder.longest,
		Undecoded: t.recorder.undecoded, UndecodedReason: t.recorder.reason,
	}
	t.source.report(&r)
	return r
}

// Watch returns once a tap of what goes on to a stack sees packets of these
// EtherTypes too. The thread has to be in its network namespace.
func (t *Tap) Watch(etherTypes []uint16) error {
	s, ok := t.source.(*stack)
	if !ok {
		return fmt.Errorf("watching EtherTypes at tap %s: it is on an interface and sees all of them", t.point)
	}
	return s.watch(etherTypes)
}

// Mark returns the report on everything that has crossed the interface before the
// call. The capture goes on: Sightings and Retained give what was
// there at the mark, Late what came after it. A tap is marked once, until Again.
func (t *Tap) Mark(ctx context.Context) (TapReport, error) {
	var report TapReport
	running, err := t.ask(ctx, func() {
		t.recorder.mark()
		report = t.reportNow()
	})
	switch {
	case err != nil:
		return TapReport{}, err
	case !running:
		return TapReport{}, errors.Join(fmt.Errorf("reading what tap %s has seen so far: it has ended", t.point), t.err)
	}
	return report, nil
}

// Late are the frames that came between the mark and the call.
func (t *Tap) Late(ctx context.Context) ([]Sighting, error) {
	var late []Sighting
	running, err := t.ask(ctx, func() { late = t.recorder.late() })
	if err == nil && !running {
		late = t.recorder.late()
	}
	return late, err
}

// Again makes the tap one that has seen nothing yet, as if it were new, if its source allows it: making rings takes the kernel
// milliseconds each. late are the frames that came between the mark and then, see Late. Otherwise nothing changes.
func (t *Tap) Again(ctx context.Context) (late []Sighting, again bool, err error) {
	_, err = t.ask(ctx, func() {
		if again = t.source.again(); again {
			late = t.recorder.late()
			t.recorder.forget()
		}
	})
	return late, again, err
}

// ask calls answer once everything that has crossed the interface before is recorded.
// A tap that has ended does not call it.
func (t *Tap) ask(ctx context.Context, answer func()) (running bool, err error) {
	if t.stopped() == nil {
		return false, nil
	}
	answered := make(chan struct{})
	t.source.ask(func() {
		answer()
		close(answered)
	})
	select {
	case <-answered:
		return true, nil
	case <-t.done:
		return false, nil
	case <-ctx.Done():
		return false, fmt.Errorf("reading what tap %s has seen so far: %w", t.point, context.Cause(ctx))
	}
}

// Point is what is tapped.
func (t *Tap) Point() TapPoint { return t.point }

// Total is the wire frames seen so far. It lags behind the wire by up to 10 ms, and by more where processors are busy.
func (t *Tap) Total() uint64 { return t.recorder.total.Load() }

// CatchUp returns once everything that has crossed the interface before the call is in Total.
func (t *Tap) CatchUp(ctx context.Context) error {
	_, err := t.ask(ctx, func() {})
	return err
}

// Stop ends the capture and returns once everything that crossed the interface
// before the call is recorded. A second call returns the same report. The error
// is about stopping, or ctx's; what the tap missed is in the report.
func (t *Tap) Stop(ctx context.Context) (TapReport, error) {
	t.stop()
	select {
	case <-t.done:
		return t.report, t.err
	case <-ctx.Done():
		return TapReport{}, fmt.Errorf("stopping tap %s: %w", t.point, ctx.Err())
	}
}

func (t *Tap) stopped() error {
	select {
	case <-t.done:
		return nil
	default:
		return fmt.Errorf("reading what tap %s recorded: %w", t.point, errRunning)
	}
}

// readable is nil once the tap was marked or stopped.
func (t *Tap) readable() error {
	if t.recorder.marked.Load() != nil {
		return nil
	}
	return t.stopped()
}

// Sightings are those before Mark or Stop, once that has returned, numbered as [WriteJourneys] asks for.
func (t *Tap) Sightings() (iter.Seq2[int, Sighting], error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	return t.recorder.read().sightings.all(), nil
}

// Retained are the frames kept whole, with the tags they had here, once Mark or Stop has returned.
func (t *Tap) Retained() (map[Fingerprint][]byte, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	frames := map[Fingerprint][]byte{}
	for _, f := range t.recorder.read().kept {
		frames[f.fingerprint] = f.data
	}
	return frames, nil
}

// Close ends the capture, if Stop has not. Sockets and ring are gone once either
// has returned; what was recorded goes with the last reference to the tap.
func (t *Tap) Close() error {
	t.stop()
	<-t.done
	return t.err
}
