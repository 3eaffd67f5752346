package wire

import (
	"context"
	"errors"
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
func (n *Network) Replace(ctx context.Context, name string, pid int) (err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	i, err := n.worker(name)
	if err != nil {
		return err
	}
	ns, err := processNamespace(name, pid)
	if err != nil {
		return err
	}
	at := slices.Index(n.nodes, n.node(name))
	old := n.nodes[at]
	n.nodes[at] = ns
	if err := old.close(); err != nil {
		return err
	}
	proc, err := openProcfs()
	if err != nil {
		return err
	}
	if err := errors.Join(proc.quiet(ns, n.plan.IPv6), proc.close()); err != nil {
		return err
	}
	w := n.plan.Workers[i]
	p := n.workerPair(w, n.workers[i].near.mac)
	if err := makePair(p); err != nil {
		return err
	}
	n.workers[i] = links([]*pair{p})[0]
	family, err := ethtoolFamily()
	if err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return p.pinOffloads(family, n.plan.SuperPacket) }, p.up, func() error { return p.awaitUp(ctx) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return ns.configure(p.farIndex, w.Addresses)
}
