package harness

import (
	"context"
	"fmt"
	"slices"

	"github.com/vlandemux/vlandemux/harness/probe"
	"github.com/vlandemux/vlandemux/harness/probe/ledger"
	"github.com/vlandemux/vlandemux/harness/wire"
)

// nodeInterface is the one interface of a client or worker.
const nodeInterface = "eth0"

// books is what the harness itself knows of a lab's state. It never asks the
// demux, which is what the books are to check.
type books struct {
	places   map[string]ledger.Place // of each client
	assigned map[MAC]string          // worker of each assigned MAC
	learned  []ledger.Location       // as the last settled window left them
	moves    []ledger.Move           // in the order they were made
	seen     bool                    // a window was settled: the switch has seen frames
}

func (l *Lab) openBooks() {
	l.book = books{places: map[string]ledger.Place{}, assigned: map[MAC]string{}}
	for _, c := range l.Topology.Clients {
		l.book.places[c.Name] = placeOf(c.Trunk, c.VLAN)
		if c.Worker != "" {
			l.book.assigned[c.MAC] = c.Worker
		}
	}
}

func placeOf(trunk int, vlan VLAN) ledger.Place {
	return ledger.Place{Trunk: trunkName(trunk), VLAN: ledger.VLAN{Protocol: vlan.Protocol, VID: vlan.VID}}
}

// books describes the lab as it is now, and how many moves it has made.
func (l *Lab) books() (ledger.Lab, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := ledger.Lab{
		PassUntagged: l.Topology.Demux.Untagged == "pass",
		Learned:      slices.Clone(l.book.learned),
		SwitchKnows:  l.book.seen,
	}
	for i := range l.Topology.Trunks {
		d.Trunks = append(d.Trunks, trunkName(i))
	}
	for _, c := range l.Topology.Clients {
		d.Clients = append(d.Clients, ledger.Client{Name: c.Name, MAC: c.MAC, Place: l.book.places[c.Name]})
		if worker := l.book.assigned[c.MAC]; worker != "" {
			d.Assignments = append(d.Assignments, ledger.Assignment{MAC: c.MAC, Worker: worker})
		}
	}
	for _, w := range l.Topology.Workers {
		d.Workers = append(d.Workers, ledger.Worker{Name: w.Name, MAC: w.MAC})
	}
	return d, len(l.book.moves)
}

func (l *Lab) movesSince(n int) []ledger.Move {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.book.moves[n:])
}

// learned carries the locations that followed from a window's frames to the next one.
func (l *Lab) learned(v *ledger.Verdict) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.book.learned, l.book.seen = v.Learned, true
}

// Move plugs a client into another VLAN, on the same trunk or another. Its
// MAC, addresses and sockets stay, and its own interface notices nothing.
func (l *Lab) Move(ctx context.Context, client string, trunk int, vlan VLAN) error {
	if l.clients[client] == nil {
		return fmt.Errorf("moving client %q: there is no such client", client)
	}
	if err := validateVLAN(vlan); err != nil {
		return fmt.Errorf("moving client %s: %w", client, err)
	}
	if trunk < 0 || trunk >= l.Topology.Trunks {
		return fmt.Errorf("moving client %s: trunk %d does not exist, there are %d, counted from 0", client, trunk, l.Topology.Trunks)
	}
	window, err := l.host.Move(ctx, wire.Move{Client: client, VLAN: vlan, Trunk: trunk})
	if err != nil {
		return fmt.Errorf("moving client %s to %s: %w", client, vlan, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	to := placeOf(trunk, vlan)
	l.book.places[client] = to
	l.book.moves = append(l.book.moves, ledger.Move{Client: client, To: to, Start: window.Start, End: window.End})
	return nil
}

// Assign gives a client's frames to a worker, through vlandemux's socket.
// Assignments change between windows, not within one.
func (l *Lab) Assign(ctx context.Context, mac MAC, worker string) error {
	return l.assigned(mac, worker, l.Demux().Assign(ctx, mac.String(), worker))
}

// Reassign gives them to another worker.
func (l *Lab) Reassign(ctx context.Context, mac MAC, worker string) error {
	return l.assigned(mac, worker, l.Demux().Reassign(ctx, mac.String(), worker))
}

// Unassign makes the client unknown to the demux, which forgets its location.
func (l *Lab) Unassign(ctx context.Context, mac MAC) error {
	err := l.assigned(mac, "", l.Demux().Unassign(ctx, mac.String()))
	if err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.book.learned = slices.DeleteFunc(l.book.learned, func(at ledger.Location) bool { return at.MAC == mac })
	}
	return err
}

func (l *Lab) assigned(mac MAC, worker string, err error) error {
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.book.assigned[mac] = worker
	return nil
}

// RestartDemux ends vlandemux by a signal ("KILL", "TERM", "INT") and starts it
// again with the same arguments. What it has pinned carries on in between.
func (l *Lab) RestartDemux(ctx context.Context, signal string) error {
	if err := l.host.StopDemux(ctx, signal); err != nil {
		return fmt.Errorf("ending vlandemux by SIG%s: %w", signal, err)
	}
	if err := l.host.StartDemux(ctx, l.Topology.arguments()); err != nil {
		return fmt.Errorf("starting vlandemux again: %w", err)
	}
	return nil
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
	points, err := l.host.TapPoints(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the lab's interfaces: %w", err)
	}
	named := make(map[string]probe.TapPoint, len(points))
	for _, p := range points {
		named[p.Name] = p
	}
	return named, nil
}
