package harness

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
	"github.com/vlandemux/vlandemux/harness/probe"
	"github.com/vlandemux/vlandemux/harness/probe/ledger"
	"github.com/vlandemux/vlandemux/harness/traffic"
)

// Window is a time in which every interface of a lab is tapped, and the books
// of what was sent in it. One window of a lab is open at a time. Its methods
// are safe for concurrent use.
type Window struct {
	lab    *Lab
	points map[string]probe.TapPoint // by name
	before control.Counters
	ledger ledger.Lab // as the lab was when the window opened
	moves  int        // how many moves the lab had made by then

	mu      sync.Mutex
	sent    []ledger.Sent // guarded by mu
	sockets []string      // guarded by mu
}

// Observe taps every interface of the lab and returns once all taps capture.
func (l *Lab) Observe(ctx context.Context) (*Window, error) {
	points, err := l.tapPoints(ctx)
	if err != nil {
		return nil, err
	}
	w := &Window{lab: l, points: points}
	w.ledger, w.moves = l.books()
	taps := w.ledger.Taps()
	wanted := make([]probe.TapPoint, 0, len(taps))
	for _, name := range taps {
		point, there := points[name]
		if !there {
			return nil, fmt.Errorf("tapping the lab: no interface is called %q, there are %v", name, slices.Sorted(maps.Keys(points)))
		}
		wanted = append(wanted, point)
	}
	if w.before, err = l.Demux().Counters(ctx); err != nil {
		return nil, err
	}
	if err := l.host.StartTaps(ctx, wanted); err != nil {
		return nil, fmt.Errorf("tapping the lab: %w", err)
	}
	return w, nil
}

// Send sends batches from a client's or worker's eth0, all at once, and enters
// them in the books.
func (w *Window) Send(ctx context.Context, node string, batches ...probe.Batch) error {
	n := w.lab.node(node)
	if n == nil {
		return fmt.Errorf("sending frames: there is no client or worker called %q", node)
	}
	report, err := n.Send(ctx, traffic.SendRequest{Interface: nodeInterface, Batches: batches})
	return w.enter(node+"/"+nodeInterface, batches, report, err)
}

// Inject sends batches out of the switch's end of a trunk: frames with any tag,
// or none, as no access port would send them.
func (w *Window) Inject(ctx context.Context, trunk int, batches ...probe.Batch) error {
	name := "switch/" + trunkName(trunk)
	report, err := w.lab.host.SendAt(ctx, w.points[name], traffic.SendRequest{Batches: batches})
	return w.enter(name, batches, report, err)
}

func (w *Window) enter(tap string, batches []probe.Batch, report traffic.SendReport, err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range report.Batches {
		w.sent = append(w.sent, ledger.Sent{Tap: tap, Batch: batches[i], Report: report.Batches[i]})
	}
	if err = errors.Join(err, report.Err()); err != nil {
		return fmt.Errorf("sending frames at %s: %w", tap, err)
	}
	return nil
}

// AllowSockets says that kernels and sockets of all clients and workers send
// frames that no batch describes: what their own taps see leave is what was sent.
func (w *Window) AllowSockets() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.lab.Nodes()[1:] {
		w.sockets = append(w.sockets, n.Name)
	}
}

func (w *Window) socketsAllowed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.sockets) > 0
}

// ErrStill is why [Window.Await] gave up: nothing moves in the lab any more.
var ErrStill = errors.New("no tap has seen anything new for " + stillFor.String())

// Await returns once each of the taps has recorded that many frames since the
// window opened, in both directions together. So whatever is sent next comes
// after them, and what has been recorded no longer takes up room in a tap's ring.
// When the lab stands still instead, the error is [ErrStill]: Settle can tell then
// which frames are missing.
func (w *Window) Await(ctx context.Context, frames map[string]uint64) error {
	tick := time.NewTicker(awaitPoll)
	defer tick.Stop()
	var last map[string]uint64
	still := time.Now()
	for {
		totals, err := w.lab.host.TapTotals(ctx)
		if err != nil {
			return fmt.Errorf("waiting for frames at the taps: %w", err)
		}
		missing := maps.Clone(frames)
		maps.DeleteFunc(missing, func(tap string, want uint64) bool { return totals[tap] >= want })
		if len(missing) == 0 {
			return nil
		}
		if !maps.Equal(totals, last) {
			last, still = totals, time.Now()
		} else if time.Since(still) >= stillFor {
			return fmt.Errorf("waiting for so many frames at the taps: %v; so many have come: %v: %w", missing, totals, ErrStill)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for so many frames at the taps: %v; so many have come: %v: %w", missing, totals, context.Cause(ctx))
		}
	}
}

// Settle waits until no frame is under way, ends the taps and compares every
// frame sent with every frame seen and with the demux's counters. The error is
// about doing that; whether the books balance is the verdict's.
func (w *Window) Settle(ctx context.Context) (*ledger.Verdict, error) {
	if err := w.quiet(ctx); err != nil {
		return nil, err
	}
	reports, err := w.lab.host.StopTaps(ctx)
	if err != nil {
		return nil, err
	}
	after, err := w.lab.Demux().Counters(ctx)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	in := ledger.Input{Sent: w.sent, Sockets: w.sockets, Before: w.before, After: after, Capture: w.lab.retained(ctx)}
	w.mu.Unlock()
	w.ledger.Moves = w.lab.movesSince(w.moves)
	for _, report := range reports {
		stream, err := w.lab.host.Sightings(ctx, report.Point.Name)
		if err != nil {
			return nil, err
		}
		defer stream.Close() //nolint:errcheck // only read
		in.Taps = append(in.Taps, ledger.Tap{Name: report.Point.Name, Report: report, Sightings: probe.ReadSightings(stream)})
	}
	verdict := w.ledger.Check(&in)
	w.lab.learned(verdict)
	return verdict, nil
}

// A lab is quiet when nothing has moved at any tap for so long. Where sockets may
// speak that is longer than a delayed TCP acknowledgement (40 to 200 ms); where
// none may, a frame has only to be carried.
const (
	quietFor        = 100 * time.Millisecond
	quietForSockets = 250 * time.Millisecond
	quietPoll       = 20 * time.Millisecond
	awaitPoll       = 2 * time.Millisecond
	stillFor        = 10 * time.Second // far beyond what a frame takes, on emulated processors too
)

// quiet returns once the taps' totals have stood still for long enough.
func (w *Window) quiet(ctx context.Context) error {
	enough := quietFor
	if w.socketsAllowed() {
		enough = quietForSockets
	}
	tick := time.NewTicker(quietPoll)
	defer tick.Stop()
	var last map[string]uint64
	still := time.Now()
	for {
		totals, err := w.lab.host.TapTotals(ctx)
		if err != nil {
			return fmt.Errorf("waiting for the lab to be quiet: %w", err)
		}
		if !maps.Equal(totals, last) {
			last, still = totals, time.Now()
		} else if time.Since(still) >= enough {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the lab to be quiet: frames keep coming, %v: %w", totals, context.Cause(ctx))
		}
	}
}
