package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"
)

// Tap records what one interface carries. Its methods are safe for concurrent use.
type Tap struct {
	point    TapPoint
	started  time.Time
	recorder *recorder
	ring     *ring // used by run alone until done is closed
	stop     func()
	done     chan struct{}

	// Written by run, to be read once done is closed.
	report TapReport
	err    error
}

// errRunning is returned for what can only be asked of a stopped tap.
var errRunning = errors.New("the tap is still capturing: stop it first")

// OpenTap taps an interface and returns once it captures: each frame that
// crosses the interface from then on is seen. It needs CAP_NET_RAW in the
// interface's network namespace, and CAP_SYS_ADMIN to enter another one.
func OpenTap(point TapPoint, opts TapOptions) (*Tap, error) {
	r, err := openRing(point, opts)
	if err != nil {
		return nil, err
	}
	t := &Tap{
		point: point, started: time.Now(), ring: r,
		recorder: newRecorder(opts.RetainBytes),
		stop:     sync.OnceFunc(r.stop),
		done:     make(chan struct{}),
	}
	go t.run()
	return t, nil
}

func (t *Tap) run() {
	defer close(t.done)
	err := t.ring.run(t.recorder.add, nil)
	if err != nil {
		t.err = fmt.Errorf("tapping %s: %w", t.point, err)
	}
	if err := t.ring.close(); err != nil {
		t.err = errors.Join(t.err, fmt.Errorf("releasing the ring of tap %s: %w", t.point, err))
	}
	t.report = t.reportNow()
}

// reportNow is for run's goroutine.
func (t *Tap) reportNow() TapReport {
	return TapReport{
		Point: t.point, Frames: t.recorder.total.Load(), Octets: t.recorder.octets,
		Packets: t.ring.packets, Read: t.ring.read, Dropped: t.ring.dropped,
		Undecoded: t.recorder.undecoded, UndecodedReason: t.recorder.reason,
		Retained: uint64(len(t.recorder.kept)), Down: t.ring.down, Duration: time.Since(t.started),
	}
}

// Mark returns the report on everything that has crossed the interface before the
// call. The capture goes on: Sightings, WriteSightings and WriteCapture give what was
// there at the mark, Late what came after it. A tap is marked once.
func (t *Tap) Mark(ctx context.Context) (TapReport, error) {
	marked := make(chan TapReport, 1)
	t.ring.ask(func() {
		t.recorder.mark()
		marked <- t.reportNow()
	})
	select {
	case report := <-marked:
		return report, nil
	case <-t.done:
		return TapReport{}, errors.Join(fmt.Errorf("reading what tap %s has seen so far: it has ended", t.point), t.err)
	case <-ctx.Done():
		return TapReport{}, fmt.Errorf("reading what tap %s has seen so far: %w", t.point, context.Cause(ctx))
	}
}

// Late are the frames that came after the mark: none before Stop has returned.
func (t *Tap) Late() iter.Seq[Sighting] {
	if t.stopped() != nil {
		return func(func(Sighting) bool) {}
	}
	return t.recorder.late()
}

// Point is what is tapped.
func (t *Tap) Point() TapPoint { return t.point }

// Total is the wire frames seen so far. It lags behind the wire by up to 10 ms.
func (t *Tap) Total() uint64 { return t.recorder.total.Load() }

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

// Sightings are the frames seen, in order: none before Mark or Stop has returned.
func (t *Tap) Sightings() iter.Seq[Sighting] {
	if t.readable() != nil {
		return func(func(Sighting) bool) {}
	}
	return t.recorder.sightings()
}

// WriteSightings writes them for [ReadSightings], once Mark or Stop has returned.
func (t *Tap) WriteSightings(w io.Writer) error {
	if err := t.readable(); err != nil {
		return err
	}
	return t.recorder.writeSightings(w)
}

// WriteCapture writes the frames kept whole as pcapng, once Mark or Stop has returned.
func (t *Tap) WriteCapture(w io.Writer) error {
	if err := t.readable(); err != nil {
		return err
	}
	return t.recorder.writeCapture(w, t.point.String())
}

// Close ends the capture, if Stop has not. Sockets and ring are gone once either
// has returned; what was recorded goes with the last reference to the tap.
func (t *Tap) Close() error {
	t.stop()
	<-t.done
	return t.err
}

// LiveCapture writes what an interface carries to w as pcapng, in the form that
// the wire would carry it, until ctx ends (which is no error) or w fails. The
// first octet is written once it captures. A packet lost, because w was too slow
// for example, is an error, but only at the end.
func LiveCapture(ctx context.Context, point TapPoint, opts TapOptions, w io.Writer) (err error) {
	r, err := openRing(point, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	capture, err := newCaptureWriter(w, point.String())
	if err != nil {
		return err
	}
	if err := capture.flush(); err != nil {
		return err
	}
	wakeUp := context.AfterFunc(ctx, r.stop)
	defer wakeUp()

	live := liveWriter{capture: capture, report: TapReport{Point: point}}
	err = r.run(live.add, func() error { return errors.Join(live.err, capture.flush()) })
	live.report.Packets, live.report.Read, live.report.Dropped = r.packets, r.read, r.dropped
	return errors.Join(err, live.err, capture.flush(), live.report.Err())
}

// liveWriter writes packets as they come.
type liveWriter struct {
	capture   *captureWriter
	segmenter Segmenter
	buf       []byte
	report    TapReport
	err       error
}

func (l *liveWriter) add(p *tapped) {
	err := p.wireFrames(&l.segmenter, func(frame []byte) bool {
		if l.err == nil {
			l.buf = p.appendFrame(l.buf[:0], frame)
			l.err = l.capture.write(time.Unix(0, p.time), p.direction, l.buf)
		}
		return l.err == nil
	})
	if err != nil {
		if l.report.Undecoded == 0 {
			l.report.UndecodedReason = err.Error()
		}
		l.report.Undecoded++
	}
}
