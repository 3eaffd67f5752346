package harness

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
	"github.com/vlandemux/vlandemux/harness/internal/agent"
	"github.com/vlandemux/vlandemux/harness/internal/drops"
	"github.com/vlandemux/vlandemux/harness/internal/ledger"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
	"github.com/vlandemux/vlandemux/harness/internal/topology"
	"github.com/vlandemux/vlandemux/harness/internal/traffic"
	"github.com/vlandemux/vlandemux/harness/internal/wire"
)

// Window is a time in which every interface of a lab is tapped. It collects what
// was sent, seen and counted, for the ledger to compare. One window of a lab is
// open at a time. Its methods are safe for concurrent use.
type Window struct {
	// Opened is the line of code that opened the window, for messages.
	Opened string

	lab    *Lab
	points map[string]probe.TapPoint // by name
	before control.Counters
	stacks map[string]uint64 // what they had dropped for wrong checksums
	ledger ledger.Setup      // as the lab was when the window opened

	mu      sync.Mutex
	sent    []ledger.Sent   // guarded by mu
	sockets []string        // guarded by mu
	sending int             // guarded by mu; how many calls that send are under way
	watched map[uint16]bool // guarded by mu; EtherTypes of what was sent, which the tap of the host's stack sees

	eventsMissed atomic.Bool // the demux was restarted
}

// ClosedWindow is what the ledger found in a window.
type ClosedWindow struct {
	Opened  string // the line of code that opened it
	Verdict *ledger.Verdict
}

// ClosedWindows are the windows of the lab that were closed, in that order.
func (l *Lab) ClosedWindows() []ClosedWindow {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.checked)
}

// OpenWindow taps every interface of the lab and returns once all taps capture.
// The window before must have been closed.
func (l *Lab) OpenWindow(ctx context.Context) (_ *Window, err error) {
	w := &Window{lab: l, Opened: "unknown", watched: map[uint16]bool{}}
	if _, file, line, ok := runtime.Caller(1); ok {
		w.Opened = fmt.Sprintf("%s:%d", file, line)
	}
	if open := l.swapWindow(w); open != nil {
		return nil, fmt.Errorf("opening a window: that opened at %s was never closed", open.Opened)
	}
	defer func() {
		if err != nil {
			l.swapWindow(nil)
		}
	}()
	if w.points, err = l.tapPoints(ctx); err != nil {
		return nil, err
	}
	if w.before, err = l.watchDemux(ctx); err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.state.before = DemuxState{Assignments: l.state.listed, Counters: w.before}
	l.mu.Unlock()
	if w.stacks, err = l.host.agent.ChecksumErrors(ctx); err != nil {
		return nil, err
	}
	closed := l.takeClosed()
	unexplained := l.nothingSince(closed, w.before)
	w.ledger = l.describe()
	taps := w.ledger.Taps()
	wanted := make([]probe.TapPoint, 0, len(taps))
	for _, name := range taps {
		point, there := w.points[name]
		if !there {
			return nil, fmt.Errorf("tapping the lab: no interface is called %q, there are %v", name, slices.Sorted(maps.Keys(w.points)))
		}
		wanted = append(wanted, point)
	}
	late, err := l.host.agent.StartTaps(ctx, wanted)
	if err != nil {
		return nil, fmt.Errorf("tapping the lab: %w", err)
	}
	if err := closed.late(late); err != nil {
		return nil, err
	}
	if unexplained != nil && len(late) == 0 {
		return nil, unexplained
	}
	for name, image := range imagesOf(l.Topology) {
		if image != nil {
			w.sockets = append(w.sockets, name)
		}
	}
	return w, l.StartImages(ctx)
}

// openWindow is the one that is open, nil for none.
func (l *Lab) openWindow() *Window {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.window
}

// swapWindow makes w the open window and returns the one that was.
func (l *Lab) swapWindow(w *Window) *Window {
	l.mu.Lock()
	defer l.mu.Unlock()
	open := l.window
	l.window = w
	return open
}

// MAC is the address of an interface of the lab, by the name of its tap, such as "host/trunk0".
func (w *Window) MAC(tap string) probe.MAC { return w.points[tap].MAC }

// Send sends batches from a client's or worker's eth0, all at once.
func (w *Window) Send(ctx context.Context, node string, batches ...probe.Batch) error {
	n := w.lab.node(node)
	if n == nil {
		return fmt.Errorf("sending frames: there is no client or worker called %q", node)
	}
	return w.send(ctx, node+"/"+topology.NodeInterface, batches, func() (traffic.SendReport, error) {
		return n.Send(ctx, traffic.SendRequest{Interface: topology.NodeInterface, Batches: batches})
	})
}

// SendUntil sends a batch from a client's or worker's eth0 once at least, and goes on until over is closed: each turn sends as
// many frames, which follow those of the batch, at its rate, and begins so long after the one before.
func (w *Window) SendUntil(ctx context.Context, over <-chan struct{}, every time.Duration, node string, batch probe.Batch) error {
	n := w.lab.node(node)
	if n == nil {
		return fmt.Errorf("sending frames: there is no client or worker called %q", node)
	}
	batches := []probe.Batch{batch}
	return w.send(ctx, node+"/"+topology.NodeInterface, batches, func() (traffic.SendReport, error) {
		report, err := n.SendUntil(ctx, over, traffic.SendRequest{Interface: topology.NodeInterface, Batches: batches, Every: every})
		for i := range report.Batches {
			batches[i].Count = int(report.Batches[i].Packets)
		}
		return report, err
	})
}

// Inject sends batches out of the switch's end of a trunk: frames with any tag,
// or none, as no access port would send them.
func (w *Window) Inject(ctx context.Context, trunk int, batches ...probe.Batch) error {
	name := "switch/" + topology.TrunkName(trunk)
	return w.send(ctx, name, batches, func() (traffic.SendReport, error) {
		return w.lab.host.agent.SendAt(ctx, w.points[name], traffic.SendRequest{Batches: batches})
	})
}

func (w *Window) send(ctx context.Context, tap string, batches []probe.Batch, send func() (traffic.SendReport, error)) error {
	if err := w.watch(ctx, batches); err != nil {
		return fmt.Errorf("sending frames at %s: %w", tap, err)
	}
	w.mu.Lock()
	w.sending++
	w.mu.Unlock()
	report, err := send()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sending--
	for i := range report.Batches {
		w.sent = append(w.sent, ledger.Sent{Tap: tap, Batch: batches[i], Report: report.Batches[i]})
	}
	if err = errors.Join(err, report.Err()); err != nil {
		return fmt.Errorf("sending frames at %s: %w", tap, err)
	}
	return nil
}

// watch lets the tap of the host's stack see the EtherTypes of the batches.
func (w *Window) watch(ctx context.Context, batches []probe.Batch) error {
	var types []uint16
	w.mu.Lock()
	for i := range batches {
		if batches[i].Validate() != nil {
			continue // the sender says what is wrong with it
		}
		for _, t := range batches[i].EtherTypes() {
			if !w.watched[t] {
				types = append(types, t)
			}
		}
	}
	w.mu.Unlock()
	if len(types) == 0 {
		return nil
	}
	if err := w.lab.host.agent.WatchEtherTypes(ctx, wire.HostStack, types); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range types {
		w.watched[t] = true
	}
	return nil
}

// AllowSockets says that kernels and sockets of all clients and workers send
// frames that no batch describes: what their own taps see leave is what was sent.
// Nodes with an image always may.
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

// Close waits until no frame is under way, ends the taps and compares every frame
// sent with every frame seen and with the demux's counters. The error is about
// doing that; what was found wrong is in the verdict.
func (w *Window) Close(ctx context.Context) (*ledger.Verdict, error) {
	if w.lab.swapWindow(nil) != w {
		return nil, fmt.Errorf("closing the window opened at %s: it is not open", w.Opened)
	}
	enough := quietFor
	if w.socketsAllowed() {
		enough = quietForSockets
	}
	quiet := w.lab.phase("quiet")
	if err := w.lab.quiet(ctx, enough); err != nil {
		return nil, err
	}
	quiet()
	defer w.lab.phase("ledger")()
	// The taps go on until the next window is open: what comes late is not missed.
	reports, err := w.lab.host.agent.MarkTaps(ctx)
	if err != nil {
		return nil, err
	}
	in := ledger.Input{Before: w.before, Capture: w.lab.retained(ctx), Drops: func() drops.Report { return w.lab.drops(ctx) }}
	if in.ChecksumErrors, err = w.lab.host.agent.ChecksumErrors(ctx); err != nil {
		return nil, err
	}
	for counter := range in.ChecksumErrors {
		in.ChecksumErrors[counter] -= w.stacks[counter]
	}
	watching, err := w.askDemux(ctx, &in)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	in.Sent, in.Sockets, in.EventsMissed = w.sent, w.sockets, w.eventsMissed.Load()
	w.mu.Unlock()
	w.lab.changes(&w.ledger)
	for _, report := range reports {
		in.Taps = append(in.Taps, ledger.Tap{Name: report.Point.Name, Report: report})
	}
	journeys, err := w.lab.host.agent.Journeys(ctx)
	if err != nil {
		return nil, err
	}
	defer journeys.Close() //nolint:errcheck // only read
	in.Journeys = probe.ReadJourneys(journeys)
	verdict := w.ledger.Check(&in)
	w.lab.closed(w, verdict, in.After)
	return verdict, watching()
}

// late is an error if frames came after the window was closed. Where sockets may
// send, a frame that they sent after it does not belong to the window.
func (w *Window) late(late []agent.LateSighting) error {
	if w == nil || len(late) == 0 {
		return nil
	}
	ours := map[probe.Fingerprint]bool{}
	if w.socketsAllowed() {
		for _, s := range late {
			if node, _, _ := strings.Cut(s.Tap, "/"); s.Direction == probe.Out && w.lab.node(node) != nil {
				ours[s.Fingerprint] = true
			}
		}
	}
	late = slices.DeleteFunc(late, func(s agent.LateSighting) bool { return ours[s.Fingerprint] })
	if len(late) == 0 {
		return nil
	}
	slices.SortStableFunc(late, func(a, b agent.LateSighting) int { return cmp.Compare(a.Time, b.Time) })
	var text strings.Builder
	for _, s := range late[:min(len(late), 10)] {
		fmt.Fprintf(&text, "\n  %s %s %s: %s → %s, EtherType %#04x, tags %v, %d octets, fingerprint %s",
			time.Unix(0, s.Time).UTC().Format("15:04:05.000000"), s.Tap, s.Direction, s.Source, s.Destination, s.EtherType, s.Stack(), s.Length, s.Fingerprint)
	}
	return fmt.Errorf("%d frames crossed a tap after the window opened at %s was closed:%s", len(late), w.Opened, &text)
}
