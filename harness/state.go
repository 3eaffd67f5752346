package harness

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/demux/control"
	"github.com/vlandemux/vlandemux/harness/internal/ledger"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
	"github.com/vlandemux/vlandemux/harness/internal/topology"
	"github.com/vlandemux/vlandemux/harness/internal/wire"
)

// state is what the harness itself knows of a lab, to compare the demux with. It
// never comes from the demux.
type state struct {
	lab      ledger.Setup     // as it is now, and what has changed since the last window was opened
	counters control.Counters // of the demux when the last window was closed
	window   *Window          // the one that was closed last, until nothing more of it can come

	// For the evidence: what the demux said of itself when the last window was opened, what it listed when the last was closed, and its events.
	before DemuxState
	listed []control.Assignment
	events []control.Event
}

// DemuxState is what the demux says of itself at one moment.
type DemuxState struct {
	Assignments []control.Assignment // with locations
	Counters    control.Counters
}

// mostEvents is how many of the demux's events are kept for the evidence.
const mostEvents = 10_000

// tell keeps what the demux has said at the end of a window.
func (l *Lab) tell(events []control.Event, assignments []control.Assignment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.listed = assignments
	l.state.events = append(l.state.events, events[:min(len(events), mostEvents-len(l.state.events))]...)
}

func newState(t Topology) state {
	lab := ledger.Setup{
		Trunks: t.Trunks, TrunkMTU: t.MTU + wire.TrunkHeadroom, GroupLimit: t.Demux.GroupLimit,
		RedirectPeer: t.Demux.Redirect == demux.RedirectPeer, EarlyDrop: t.Demux.EarlyDrop == demux.EarlyDropXDP, Age: t.Demux.Age, Clients: slices.Clone(t.Clients), Workers: t.Workers,
		Unknown: t.Demux.Unknown, Assignments: map[MAC]string{}, PassUntagged: t.Demux.Untagged == demux.UntaggedPass,
	}
	if t.Demux.Contract != nil {
		lab.Reference = t.Demux.Contract.Reference
	}
	var listed []control.Assignment
	for _, c := range t.Clients {
		if c.Worker != "" {
			lab.Assignments[c.MAC] = c.Worker
			listed = append(listed, control.Assignment{Assignment: demux.Assignment{MAC: c.MAC, Worker: c.Worker}})
		}
		if len(c.Allowed) > 0 {
			if lab.Allowed == nil {
				lab.Allowed = map[MAC][]Place{}
			}
			lab.Allowed[c.MAC] = c.Allowed
		}
	}
	return state{lab: lab, listed: listed}
}

// describe is the lab as it is now, for the ledger. From now on its changes are
// collected for [Lab.changes].
func (l *Lab) describe() ledger.Setup {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.lab.Moves, l.state.lab.Changes, l.state.lab.Outages = nil, nil, nil
	d := l.state.lab
	d.Clients, d.Assignments, d.Learned = slices.Clone(d.Clients), maps.Clone(d.Assignments), maps.Clone(d.Learned)
	return d
}

// changes adds the moves, the changes of assignments and trunks and the ends of workers since the last describe.
func (l *Lab) changes(to *ledger.Setup) {
	l.mu.Lock()
	defer l.mu.Unlock()
	from := &l.state.lab
	to.Moves, to.Changes, to.Outages, to.TrunkChanges = slices.Clone(from.Moves), slices.Clone(from.Changes), slices.Clone(from.Outages), slices.Clone(from.TrunkChanges)
}

// closed carries what followed from a window's frames to the next window.
func (l *Lab) closed(w *Window, v *ledger.Verdict, counters control.Counters) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.checked = append(l.checked, ClosedWindow{Opened: w.Opened, Verdict: v})
	l.state.window = w
	l.state.counters = counters
	lab := &l.state.lab
	lab.Learned, lab.SwitchKnows, lab.Moves, lab.Changes, lab.Outages = v.Learned, true, nil, nil, nil
}

// takeClosed returns the window that was closed last, once.
func (l *Lab) takeClosed() *Window {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.state.window
	l.state.window = nil
	return w
}

// nothingSince is an error if the demux has counted or announced anything since w was
// closed, the window before; nil is none. Nobody sends between windows.
func (l *Lab) nothingSince(w *Window, now control.Counters) error {
	if w == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	err := ledger.Unexplained(&l.state.counters, &now, l.state.lab.Changes)
	if l.follower != nil && l.follower.pending() > 0 && !w.eventsMissed.Load() {
		err = errors.Join(err, fmt.Errorf("the demux has raised %d events, and no frame that was sent can have caused them", l.follower.pending()))
	}
	if err != nil {
		return fmt.Errorf("after the window opened at %s was closed: %w", w.Opened, err)
	}
	return nil
}

// Move plugs a client into another VLAN, on the same trunk or another. Its
// MAC, addresses and sockets stay, and its own interface notices nothing.
func (l *Lab) Move(ctx context.Context, client string, to Place) error {
	window, err := l.host.agent.Move(ctx, wire.Move{Client: client, Place: to})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	lab := &l.state.lab
	lab.Clients[slices.IndexFunc(lab.Clients, func(c Client) bool { return c.Name == client })].Place = to
	lab.Moves = append(lab.Moves, ledger.Move{Client: client, To: to, Start: window.Start, End: window.End})
	return nil
}

// SetTrunk takes the switch's end of a trunk down, or brings it up and returns once it
// carries frames; vlandemux has noticed then. Nothing may be sent there meanwhile.
func (l *Lab) SetTrunk(ctx context.Context, trunk int, up bool) error {
	start, end, err := l.during(ctx, func() error {
		if err := l.host.agent.SetTrunk(ctx, trunk, up); err != nil {
			return err
		}
		return l.awaitInterface(ctx, topology.TrunkName(trunk), map[bool]string{true: control.StateUp, false: control.StateDown}[up])
	})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.lab.TrunkChanges = append(l.state.lab.TrunkChanges, ledger.TrunkChange{Trunk: trunk, Up: up, Start: start, End: end})
	return nil
}

// DemuxMemory is how many octets of memory vlandemux's process has.
func (l *Lab) DemuxMemory(ctx context.Context) (octets float64, err error) {
	metrics, err := l.Demux().MetricsText(ctx)
	if err != nil {
		return 0, err
	}
	defer metrics.Close() //nolint:errcheck // only read
	lines := bufio.NewScanner(metrics)
	for lines.Scan() {
		if n, _ := fmt.Sscanf(lines.Text(), "process_resident_memory_bytes %g", &octets); n == 1 {
			return octets, nil
		}
	}
	return 0, errors.Join(errors.New("vlandemux's metrics do not say how much memory it has"), lines.Err())
}

// Assign gives a client's frames to a worker, through vlandemux's socket. It may
// be called while a window is open and frames are on their way, for one MAC at a time.
func (l *Lab) Assign(ctx context.Context, mac MAC, worker string) error {
	return l.change(ctx, map[MAC]string{mac: worker}, func() error { return l.Demux().Assign(ctx, mac.String(), worker, l.allowed(mac)...) })
}

// AssignAll gives each client's frames to its worker, all of them in one call.
func (l *Lab) AssignAll(ctx context.Context, workers map[MAC]string) error {
	wanted := make([]demux.Assignment, 0, len(workers))
	for mac, worker := range workers {
		wanted = append(wanted, demux.Assignment{MAC: mac, Worker: worker, Places: l.allowed(mac)})
	}
	return l.change(ctx, workers, func() error {
		_, err := l.Demux().Apply(ctx, wanted, false, false)
		return err
	})
}

// Reassign gives them to another worker.
func (l *Lab) Reassign(ctx context.Context, mac MAC, worker string) error {
	return l.change(ctx, map[MAC]string{mac: worker}, func() error { return l.Demux().Reassign(ctx, mac.String(), worker, l.allowed(mac)...) })
}

// Unassign makes the client unknown to the demux, which forgets its location.
func (l *Lab) Unassign(ctx context.Context, mac MAC) error {
	return l.change(ctx, map[MAC]string{mac: ""}, func() error { return l.Demux().Unassign(ctx, mac.String()) })
}

// allowed are the places of the client with that MAC, whatever its worker.
func (l *Lab) allowed(mac MAC) []demux.Place {
	for _, c := range l.Topology.Clients {
		if c.MAC == mac {
			return allowed(c)
		}
	}
	return nil
}

// change notes between which moments assignments have changed: the worker that each MAC has since, "" for none. What is
// refused changes nothing.
func (l *Lab) change(ctx context.Context, workers map[MAC]string, call func() error) error {
	start, end, err := l.during(ctx, call)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	lab := &l.state.lab
	for mac, worker := range workers {
		lab.Changes = append(lab.Changes, ledger.Change{MAC: mac, Worker: worker, Start: start, End: end})
		if worker != "" {
			lab.Assignments[mac] = worker
		} else {
			delete(lab.Assignments, mac)
			delete(lab.Learned, mac)
		}
	}
	return nil
}

// during makes a change and tells between which moments, in nanoseconds since 1970 on the clock of the taps.
func (l *Lab) during(ctx context.Context, change func() error) (start, end int64, err error) {
	if start, err = l.host.agent.Clock(ctx); err != nil {
		return 0, 0, err
	}
	if err = change(); err != nil {
		return 0, 0, err
	}
	end, err = l.host.agent.Clock(ctx)
	return start, end, err
}

// RestartDemux ends vlandemux by a signal ("KILL", "TERM", "INT") and starts it
// again with the same arguments. What it has pinned carries on in between, in which
// meanwhile is called; nil is nothing.
func (l *Lab) RestartDemux(ctx context.Context, signal string, meanwhile func() error) error {
	watched := l.stopFollowing()
	if err := l.host.agent.StopDemux(ctx, signal); err != nil {
		return fmt.Errorf("ending vlandemux by SIG%s: %w", signal, err)
	}
	if meanwhile != nil {
		if err := meanwhile(); err != nil {
			return err
		}
	}
	return l.startAgain(ctx, watched)
}

// UpgradeDemux is RestartDemux with a capacity in clients of its own, and so with programs and maps
// that take the place of those that were pinned, as another build's do. If that is refused, what was there
// before is started again, besides the error.
func (l *Lab) UpgradeDemux(ctx context.Context, signal string, capacity int) error {
	watched := l.stopFollowing()
	if err := l.host.agent.StopDemux(ctx, signal); err != nil {
		return fmt.Errorf("ending vlandemux by SIG%s: %w", signal, err)
	}
	before := l.Topology.Demux.Capacity
	l.Topology.Demux.Capacity = capacity
	err := l.startAgain(ctx, watched)
	if err != nil {
		l.Topology.Demux.Capacity = before
		return errors.Join(err, l.startAgain(ctx, watched))
	}
	return nil
}

func (l *Lab) startAgain(ctx context.Context, watched bool) error {
	if err := l.host.agent.StartDemux(ctx, l.Topology.Arguments()); err != nil {
		return fmt.Errorf("starting vlandemux again: %w", err)
	}
	if err := l.checkAttached(ctx); err != nil || !watched {
		return err
	}
	_, err := l.keepFollowing(ctx)
	return err
}

// node is the client or worker of that name, nil if there is none.
func (l *Lab) node(name string) *Node {
	if n := l.clients[name]; n != nil {
		return n
	}
	return l.workers[name]
}

// tapPoints are all interfaces of the lab by name.
func (l *Lab) tapPoints(ctx context.Context) (map[string]probe.TapPoint, error) {
	points, err := l.host.agent.TapPoints(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the lab's interfaces: %w", err)
	}
	named := make(map[string]probe.TapPoint, len(points))
	for _, p := range points {
		named[p.Name] = p
	}
	return named, nil
}
