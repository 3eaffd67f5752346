package harness

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
	"github.com/vlandemux/vlandemux/harness/internal/ledger"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
	"github.com/vlandemux/vlandemux/harness/internal/wire"
)

// nodeInterface is the one interface of a client or worker.
const nodeInterface = "eth0"

// state is what the harness itself knows of a lab, to compare the demux with. It
// never comes from the demux.
type state struct {
	places   map[string]ledger.Place // of each client
	assigned map[MAC]string          // worker of each assigned MAC
	learned  []ledger.Location       // as the last closed window left them
	moves    []ledger.Move           // since the last window was opened
	changes  []ledger.Change         // since the last window was opened
	seen     bool                    // a window was closed: the switch has seen frames
	counters control.Counters        // of the demux when the last window was closed
	window   *Window                 // the one that was closed last, until nothing more of it can come
}

func newState(t Topology) state {
	s := state{places: map[string]ledger.Place{}, assigned: map[MAC]string{}}
	for _, c := range t.Clients {
		s.places[c.Name] = placeOf(c.Trunk, c.VLAN)
		if c.Worker != "" {
			s.assigned[c.MAC] = c.Worker
		}
	}
	return s
}

func placeOf(trunk int, vlan VLAN) ledger.Place {
	return ledger.Place{Trunk: trunkName(trunk), VLAN: vlan}
}

// describe is the lab as it is now, for the ledger. From now on its changes are
// collected for [Lab.changes].
func (l *Lab) describe() ledger.Lab {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.moves, l.state.changes = nil, nil
	d := ledger.Lab{
		PassUntagged: l.Topology.Demux.Untagged == "pass",
		Learned:      slices.Clone(l.state.learned),
		SwitchKnows:  l.state.seen,
	}
	for i := range l.Topology.Trunks {
		d.Trunks = append(d.Trunks, trunkName(i))
	}
	for _, c := range l.Topology.Clients {
		d.Clients = append(d.Clients, ledger.Client{Name: c.Name, MAC: c.MAC, Place: l.state.places[c.Name]})
	}
	macs := slices.SortedFunc(maps.Keys(l.state.assigned), func(a, b MAC) int { return slices.Compare(a[:], b[:]) })
	for _, mac := range macs {
		d.Assignments = append(d.Assignments, ledger.Assignment{MAC: mac, Worker: l.state.assigned[mac]})
	}
	for _, w := range l.Topology.Workers {
		d.Workers = append(d.Workers, ledger.Worker{Name: w.Name, MAC: w.MAC})
	}
	return d
}

// changes are the moves and the changes of assignments since the last describe.
func (l *Lab) changes() ([]ledger.Move, []ledger.Change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.state.moves), slices.Clone(l.state.changes)
}

// closed carries what followed from a window's frames to the next window.
func (l *Lab) closed(w *Window, v *ledger.Verdict, counters control.Counters) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.window = w
	l.state.learned, l.state.seen, l.state.counters = v.Learned, true, counters
	l.state.moves, l.state.changes = nil, nil
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
	err := ledger.Unexplained(&l.state.counters, &now, l.state.changes)
	if l.follower != nil && l.follower.pending() > 0 {
		err = errors.Join(err, fmt.Errorf("the demux has raised %d events, and no frame that was sent can have caused them", l.follower.pending()))
	}
	if err != nil {
		return fmt.Errorf("after the window opened at %s was closed: %w", w.Opened, err)
	}
	return nil
}

// Move plugs a client into another VLAN, on the same trunk or another. Its
// MAC, addresses and sockets stay, and its own interface notices nothing.
func (l *Lab) Move(ctx context.Context, client string, trunk int, vlan VLAN) error {
	if l.clients[client] == nil {
		return fmt.Errorf("moving client %q: there is no such client", client)
	}
	if err := vlan.Validate(); err != nil {
		return fmt.Errorf("moving client %s: %w", client, err)
	}
	if trunk < 0 || trunk >= l.Topology.Trunks {
		return fmt.Errorf("moving client %s: trunk %d does not exist, there are %d, counted from 0", client, trunk, l.Topology.Trunks)
	}
	window, err := l.host.agent.Move(ctx, wire.Move{Client: client, VLAN: vlan, Trunk: trunk})
	if err != nil {
		return fmt.Errorf("moving client %s to %s: %w", client, vlan, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	to := placeOf(trunk, vlan)
	l.state.places[client] = to
	l.state.moves = append(l.state.moves, ledger.Move{Client: client, To: to, Start: window.Start, End: window.End})
	return nil
}

// Assign gives a client's frames to a worker, through vlandemux's socket. It may
// be called while a window is open and frames are on their way, for one MAC at a time.
func (l *Lab) Assign(ctx context.Context, mac MAC, worker string) error {
	return l.change(ctx, mac, worker, func() error { return l.Demux().Assign(ctx, mac.String(), worker) })
}

// Reassign gives them to another worker.
func (l *Lab) Reassign(ctx context.Context, mac MAC, worker string) error {
	return l.change(ctx, mac, worker, func() error { return l.Demux().Reassign(ctx, mac.String(), worker) })
}

// Unassign makes the client unknown to the demux, which forgets its location.
func (l *Lab) Unassign(ctx context.Context, mac MAC) error {
	return l.change(ctx, mac, "", func() error { return l.Demux().Unassign(ctx, mac.String()) })
}

// change notes between which moments an assignment has changed. What is refused
// changes nothing.
func (l *Lab) change(ctx context.Context, mac MAC, worker string, call func() error) error {
	start, err := l.host.agent.Clock(ctx)
	if err != nil {
		return err
	}
	if err := call(); err != nil {
		return err
	}
	end, err := l.host.agent.Clock(ctx)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.changes = append(l.state.changes, ledger.Change{MAC: mac, Worker: worker, Start: start, End: end})
	if worker != "" {
		l.state.assigned[mac] = worker
		return nil
	}
	delete(l.state.assigned, mac)
	l.state.learned = slices.DeleteFunc(l.state.learned, func(at ledger.Location) bool { return at.MAC == mac })
	return nil
}

// RestartDemux ends vlandemux by a signal ("KILL", "TERM", "INT") and starts it
// again with the same arguments. What it has pinned carries on in between.
func (l *Lab) RestartDemux(ctx context.Context, signal string) error {
	watched := l.stopFollowing()
	if err := l.host.agent.StopDemux(ctx, signal); err != nil {
		return fmt.Errorf("ending vlandemux by SIG%s: %w", signal, err)
	}
	if err := l.host.agent.StartDemux(ctx, l.Topology.arguments()); err != nil {
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
