package wire

import (
	"context"
	"fmt"
	"slices"

	"github.com/vlandemux/vlandemux/harness/internal/topology"
)

func (n *Network) worker(name string) (int, error) {
	i := slices.IndexFunc(n.plan.Workers, func(w topology.Worker) bool { return w.Name == name })
	switch {
	case n.closed:
		return 0, errClosed
	case i < 0:
		return 0, fmt.Errorf("the lab has no worker %q", name)
	}
	return i, nil
}

// Sever deletes a worker's link, as the kernel does when the worker's network namespace has gone.
func (n *Network) Sever(name string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	i, err := n.worker(name)
	if err == nil {
		err = n.host.handle.LinkDel(byIndex(n.workers[i].near.index))
	}
	if err != nil {
		return fmt.Errorf("deleting the link of worker %s: %w", name, err)
	}
	return nil
}

// Replace links the network namespace of process pid in the place of a worker whose link was severed.
func (n *Network) Replace(ctx context.Context, name string, pid int) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, err := n.worker(name); err != nil {
		return err
	}
	at := slices.Index(n.nodes, n.node(name))
	old := n.nodes[at]
	n.nodes = slices.Delete(n.nodes, at, at+1)
	if err := old.close(); err != nil {
		return err
	}
	_, err := n.join(ctx, map[string]int{name: pid})
	return err
}
