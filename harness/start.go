package harness

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/harness/internal/agent"
	"github.com/vlandemux/vlandemux/harness/internal/engine"
	"github.com/vlandemux/vlandemux/harness/internal/traffic"
	"github.com/vlandemux/vlandemux/harness/internal/wire"
)

// build starts the lab's containers, wires them and starts vlandemux, each as soon as what it needs is there. vlandemux needs the
// host and the workers, so their containers are the first: while it starts, so do the clients'.
func (l *Lab) build(ctx context.Context, h *Harness) error {
	host, workers, clients := l.containers(h.images)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return l.startContainers(ctx, group, h, slices.Concat(host, workers, clients)) })
	var up, wired time.Time
	group.Go(func() error {
		if err := l.await(ctx, "host", host); err != nil {
			return err
		}
		if err := l.wire(ctx); err != nil {
			return err
		}
		if err := l.await(ctx, "workers", workers); err != nil {
			return err
		}
		var names []string
		for _, w := range l.Topology.Workers {
			names = append(names, w.Name)
		}
		if err := l.join(ctx, "workers", true, names); err != nil {
			return err
		}
		silent := !l.Topology.hasIPv6()
		if silent {
			group.Go(func() error { return l.attach(ctx) })
		}
		var err error
		if up, err = l.joinClients(ctx, clients); err != nil {
			return err
		}
		wired = time.Now()
		if silent {
			return nil
		}
		// A stack that was given an IPv6 address says which groups it is in.
		if err := l.silence(ctx); err != nil {
			return err
		}
		return l.attach(ctx)
	})
	if err := group.Wait(); err != nil {
		return err
	}
	l.ended("containers", l.started, up.Sub(l.started))
	l.ended("wiring", up, wired.Sub(up))
	l.ended("attach", wired, time.Since(wired))
	return nil
}

// starting is a node whose container starts.
type starting struct {
	name string
	of   containerKind
	into map[string]*Node // the clients, or the workers; nil for the host
	up   chan struct{}    // closed when it is there
}

func (s starting) await(ctx context.Context) error {
	select {
	case <-s.up:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s starting) isUp() bool {
	select {
	case <-s.up:
		return true
	default:
		return false
	}
}

// containers are those of the host, the workers and the clients.
func (l *Lab) containers(images Images) (host, workers, clients []starting) {
	tun := slices.ContainsFunc(l.Topology.Workers, func(w Worker) bool { return w.Kind == WorkerTAP })
	host = []starting{{wire.HostNode, containerKind{kind: engine.KindHost, image: images.Host, tun: tun}, nil, make(chan struct{})}}
	for _, w := range l.Topology.Workers {
		if !w.InHost {
			workers = append(workers, starting{w.Name, containerKind{kind: engine.KindWorker, image: images.Worker}, l.workers, make(chan struct{})})
		}
	}
	for _, c := range l.Topology.Clients {
		clients = append(clients, starting{c.Name, containerKind{kind: engine.KindClient, image: images.Client}, l.clients, make(chan struct{})})
	}
	return host, workers, clients
}

// startContainers starts them in their order, as fast as the pool lets it.
func (l *Lab) startContainers(ctx context.Context, group *errgroup.Group, h *Harness, all []starting) error {
	for _, s := range all {
		if err := h.pool.turn(ctx); err != nil {
			return fmt.Errorf("starting the container of %s: %w", s.name, err)
		}
		group.Go(func() error {
			c, err := h.pool.take(ctx, s.of)
			if err != nil {
				return fmt.Errorf("starting the container of %s: %w", s.name, err)
			}
			c.logged = c.Logged()
			n := &Node{Sockets: traffic.Of(c.agent), Name: s.name, Container: c.Name, PID: c.PID, agent: c.agent, container: c}
			l.mu.Lock()
			defer l.mu.Unlock()
			if s.into == nil {
				l.host = n
			} else {
				s.into[s.name] = n
			}
			close(s.up)
			return nil
		})
	}
	return nil
}

// await returns once containers are up.
func (l *Lab) await(ctx context.Context, part string, containers []starting) error {
	for _, s := range containers {
		if err := s.await(ctx); err != nil {
			return err
		}
	}
	l.ended("containers: "+part, l.started, time.Since(l.started))
	return nil
}

// wire makes the trunks.
func (l *Lab) wire(ctx context.Context) error {
	l.Features = l.host.container.features
	var err error
	if l.kind, err = l.chooseSwitch(func(kind SwitchKind) (string, error) { return l.pool.missingSwitch(ctx, l.host.agent, kind) }); err != nil {
		return err
	}
	if l.Health, err = l.host.agent.Kernel(ctx); err != nil {
		return fmt.Errorf("asking how the kernel is: %w", err)
	}
	l.Topology.Tunnels = slices.DeleteFunc(slices.Clone(l.Topology.Tunnels), func(t Tunnel) bool {
		return slices.Contains(l.Features.MissingTunnels, t.Kind)
	})
	for _, w := range l.Topology.Workers {
		if w.InHost {
			n := *l.host
			n.Name = w.Name
			l.mu.Lock() // containers of other workers come up
			l.workers[w.Name] = &n
			l.mu.Unlock()
		}
	}
	t, begun := l.Topology, time.Now()
	wired, err := l.host.agent.Wire(ctx, wire.Plan{
		Switch: string(l.kind), RedirectPeer: t.Demux.Redirect == demux.RedirectPeer, MTU: t.MTU, SuperPacket: t.SuperPacket, IPv6: t.hasIPv6(),
		Trunks: t.Trunks, Clients: t.Clients, Workers: t.Workers, Tunnels: t.Tunnels,
	})
	l.switchPath = wired.Switch
	l.endedSteps("wiring: trunks: ", begun, wired.Steps)
	return err
}

// joinClients lays the links of clients while the containers of others start: each time those of all that are up. It
// returns when the last one was up.
func (l *Lab) joinClients(ctx context.Context, clients []starting) (up time.Time, err error) {
	for len(clients) > 0 {
		if err := clients[0].await(ctx); err != nil {
			return up, err
		}
		var names []string
		clients = slices.DeleteFunc(clients, func(s starting) bool {
			if !s.isUp() {
				return false
			}
			names = append(names, s.name)
			return true
		})
		up = time.Now()
		if len(clients) == 0 {
			l.ended("containers: clients", l.started, up.Sub(l.started))
		}
		if err := l.join(ctx, "clients", len(clients) == 0, names); err != nil {
			return up, err
		}
	}
	return up, nil
}

// join lays the links of nodes that are there. Each step of the last ones of a part is a phase.
func (l *Lab) join(ctx context.Context, part string, last bool, names []string) error {
	pids, begun := map[string]int{}, time.Now()
	l.mu.Lock()
	for _, name := range names {
		pids[name] = l.node(name).PID
	}
	l.mu.Unlock()
	steps, err := l.host.agent.Join(ctx, pids)
	if !last {
		l.ended("wiring: some "+part, begun, time.Since(begun))
		return err
	}
	l.endedSteps("wiring: "+part+": ", begun, steps)
	return err
}

func (l *Lab) endedSteps(prefix string, begun time.Time, steps []wire.Step) {
	for _, step := range steps {
		l.ended(prefix+step.Name, begun, step.Took)
		begun = begun.Add(step.Took)
	}
}

// DemuxStart is how long vlandemux may take in a lab until it says that it is ready.
const DemuxStart = agent.DemuxStart

// attach starts vlandemux.
func (l *Lab) attach(ctx context.Context) error {
	defer l.phase("attach: vlandemux")()
	if err := l.host.agent.StartDemux(ctx, l.Topology.Arguments()); err != nil {
		return fmt.Errorf("starting vlandemux in the host container: %w", err)
	}
	return l.checkAttached(ctx)
}
