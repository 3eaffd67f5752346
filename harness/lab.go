package harness

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/demux/control"
	"github.com/vlandemux/vlandemux/harness/internal/agent"
	"github.com/vlandemux/vlandemux/harness/internal/engine"
	"github.com/vlandemux/vlandemux/harness/internal/topology"
	"github.com/vlandemux/vlandemux/harness/internal/traffic"
	"github.com/vlandemux/vlandemux/harness/internal/wire"
)

// closeTimeout bounds the end of a lab, which must come even if the context
// it was started with has ended.
const closeTimeout = 30 * time.Second

// Lab is a running topology. Its methods are safe for concurrent use.
type Lab struct {
	// Topology is what was asked for, defaults filled in.
	Topology Topology
	// Seed is what the lab's randomness comes from.
	Seed Seed
	// Features of the kernel under the lab.
	Features wire.Features
	// Health of the kernel before the lab was wired.
	Health agent.KernelHealth
	// Attach is how vlandemux is attached: "tcx" or "clsact".
	Attach string

	started time.Time
	host    *Node
	clients map[string]*Node
	workers map[string]*Node
	kind    SwitchKind
	pool    *pool
	// switchPath is the switch's network namespace, as a path on the engine's machine.
	switchPath string
	onClose    func() error

	mu      sync.Mutex
	state   state          // guarded by mu
	window  *Window        // guarded by mu; the one that is open, nil for none
	phases  []Phase        // guarded by mu
	checked []ClosedWindow // guarded by mu

	follower *follower // guarded by mu; from the first window on

	imagesMu      sync.Mutex
	imagesStarted bool // guarded by imagesMu
}

// Node is a client, a worker or the host of a lab. Its methods use its sockets.
type Node struct {
	traffic.Sockets
	// Name of the client, the worker, or "host".
	Name string
	// Container is its container's name, and PID the container's first process as
	// the engine's machine numbers it.
	Container string
	PID       int

	agent     *agent.Client
	container *container
	image     *engine.Container // nil if the node has none, or before it is started
}

// Start validates the topology, starts its containers side by side, wires them
// and starts vlandemux in the host. On an error nothing is left.
func (h *Harness) Start(ctx context.Context, topology Topology, seed Seed) (_ *Lab, err error) {
	if err := topology.Validate(); err != nil {
		return nil, err
	}
	l := &Lab{
		Topology: topology.withDefaults(), Seed: seed, pool: h.pool, started: time.Now(),
		clients: map[string]*Node{}, workers: map[string]*Node{},
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.hostLog(), l.Abandon())
		}
	}()
	l.state = newState(l.Topology)
	if err := l.build(ctx, h); err != nil {
		return nil, err
	}
	return l, nil
}

// checkAttached asks vlandemux what it is attached to, and how: to every trunk of
// the lab and to no other, and in the way that was asked for.
func (l *Lab) checkAttached(ctx context.Context) error {
	if l.Topology.Demux.Contract != nil {
		return nil // it says nothing of itself
	}
	status, err := l.Demux().Status(ctx)
	if err != nil {
		return fmt.Errorf("asking vlandemux how it is attached: %w", err)
	}
	var trunks, want []string
	for _, t := range status.Trunks {
		trunks = append(trunks, t.Name)
	}
	for i := range l.Topology.Trunks {
		want = append(want, topology.TrunkName(i))
	}
	slices.Sort(trunks)
	if !slices.Equal(trunks, slices.Sorted(slices.Values(want))) {
		return fmt.Errorf("vlandemux says it is attached to the trunks %v, want %v", trunks, want)
	}
	l.Attach = status.Trunks[0].Attach
	asked := l.Topology.Demux.Attach
	for _, i := range slices.Concat(status.Trunks, status.Workers) {
		if i.Index == 0 {
			continue // it is not there
		}
		if i.Attach != l.Attach || asked != demux.AttachAuto && i.Attach != string(asked) {
			return fmt.Errorf("vlandemux says it is attached to %s by %s, want %s everywhere", i.Name, i.Attach, cmp.Or(string(asked), l.Attach))
		}
	}
	return nil
}

// hostLog is an error that quotes what the host's agent has logged, nil if nothing.
func (l *Lab) hostLog() error {
	if l.host == nil {
		return nil
	}
	return l.host.container.log()
}

// Switch is the kind of switch in use.
func (l *Lab) Switch() SwitchKind { return l.kind }

// Host is the node that runs the demux.
func (l *Lab) Host() *Node { return l.host }

// Client returns the client of that name, nil if there is none.
func (l *Lab) Client(name string) *Node { return l.clients[name] }

// Worker returns the worker of that name, nil if there is none.
func (l *Lab) Worker(name string) *Node { return l.workers[name] }

// Demux is a client of vlandemux's socket.
func (l *Lab) Demux() *control.Client { return l.host.agent.Demux() }

// Nodes are all containers of the lab: the host, then clients and workers in
// the topology's order. A lab whose start failed has fewer.
func (l *Lab) Nodes() []*Node {
	nodes := []*Node{l.host}
	for _, c := range l.Topology.Clients {
		nodes = append(nodes, l.clients[c.Name])
	}
	for _, w := range l.Topology.Workers {
		nodes = append(nodes, l.workers[w.Name])
	}
	return slices.DeleteFunc(nodes, func(n *Node) bool { return n == nil })
}

// Close takes the lab down. Its containers go back to the harness if they are
// as they were when new, and are ended otherwise; it is an error if the lab has left
// anything behind, or a window open. Closing twice is safe.
func (l *Lab) Close() error {
	return errors.Join(l.CheckClosed(), l.takeDown(func(ctx context.Context, containers []*container) error {
		begun := time.Now()
		return l.pool.give(ctx, containers, func(steps []wire.Step) { l.endedSteps("close: ", begun, steps) })
	}))
}

// CheckClosed is an error if a window was left open, or if anything happened after
// the last one was closed. It is told once.
func (l *Lab) CheckClosed() error {
	if w := l.swapWindow(nil); w != nil {
		return fmt.Errorf("the window opened at %s was never closed: nothing that happened since has been checked; close it", w.Opened)
	}
	w := l.takeClosed()
	if w == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if _, err := l.host.agent.StopTaps(ctx); err != nil {
		return err
	}
	late, err := l.host.agent.LateSightings(ctx)
	if err != nil || len(late) > 0 {
		return errors.Join(err, w.late(late))
	}
	now, err := l.counters(ctx)
	if err != nil {
		return err
	}
	return l.nothingSince(w, now)
}

// Abandon takes the lab down without asking what it has left behind, for labs that people have been in: it ends every
// container; links, namespaces, programs and pins go with them.
func (l *Lab) Abandon() error { return l.takeDown(end) }

func (l *Lab) takeDown(how func(context.Context, []*container) error) error {
	defer l.phase("close")()
	l.stopFollowing()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var containers []*container
	err := endImages(ctx, l.Nodes())
	for _, n := range l.Nodes() {
		if !slices.Contains(containers, n.container) {
			containers = append(containers, n.container)
		}
	}
	l.host, l.clients, l.workers = nil, nil, nil
	err = errors.Join(err, how(ctx, containers))
	if l.onClose != nil {
		err = errors.Join(err, l.onClose())
	}
	return err
}
