package harness

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
	"github.com/vlandemux/vlandemux/harness/internal/ledger"
	"github.com/vlandemux/vlandemux/harness/internal/traffic"
)

// KillWorker kills a worker's container in mid-flow, and its link with it, and returns once
// the demux knows. From then on the frames of its clients have no worker. The open
// window judges what was on its way; the next one needs [Lab.ReplaceWorker].
func (l *Lab) KillWorker(ctx context.Context, name string) error {
	n := l.workers[name]
	if n == nil {
		return fmt.Errorf("killing worker %q: the lab has none of that name", name)
	}
	start, end, err := l.during(ctx, func() error {
		if err := n.container.Signal(ctx, "KILL"); err != nil {
			return err
		}
		if _, err := n.container.Wait(ctx); err != nil {
			return err
		}
		if err := l.host.agent.Sever(ctx, name); err != nil {
			return err
		}
		return l.awaitInterface(ctx, name, control.StateAbsent)
	})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.lab.Outages = append(l.state.lab.Outages, ledger.Outage{Worker: name, Start: start, End: end})
	return n.container.Close(ctx)
}

// ReplaceWorker puts another container into the place of a worker that was killed, under its
// name and with its MAC and addresses, and returns once the demux serves it. To be called between windows.
func (l *Lab) ReplaceWorker(ctx context.Context, name string) error {
	i := slices.IndexFunc(l.Topology.Workers, func(w Worker) bool { return w.Name == name })
	if i < 0 {
		return fmt.Errorf("replacing worker %q: the lab has none of that name", name)
	}
	n := l.workers[name]
	if err := l.pool.turn(ctx); err != nil {
		return fmt.Errorf("replacing worker %s: %w", name, err)
	}
	c, err := l.pool.take(ctx, n.container.of)
	if err != nil {
		return fmt.Errorf("replacing worker %s: %w", name, err)
	}
	n.Sockets, n.Container, n.PID, n.agent, n.container = traffic.Of(c.agent), c.Name, c.PID, c.agent, c
	if err := l.host.agent.Replace(ctx, name, n.PID); err != nil {
		return err
	}
	return l.awaitInterface(ctx, name, control.StateUp)
}

// awaitInterface returns once the demux says that its trunk or worker of that name is in a state.
func (l *Lab) awaitInterface(ctx context.Context, name, state string) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		status, err := l.Demux().Status(ctx)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(slices.Concat(status.Trunks, status.Workers), func(i control.Interface) bool { return i.Name == name && i.State == state }) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("waiting for the demux to see that interface %s is %s", name, state), context.Cause(ctx))
		}
	}
}
