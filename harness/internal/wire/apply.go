package wire

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/harness/internal/topology"
)

// Apply lays plan, the calling process's network namespace being the host. The
// caller has validated the topology. On an error everything it made is gone
// again. The order keeps the lab silent:
// namespaces, sysctls, links (down), offloads, trunks up, the switch's inside,
// ports and workers up, and addresses.
func Apply(ctx context.Context, plan Plan) (_ *Network, err error) {
	n := &Network{group: newGroup(), plan: plan, unsure: map[int]bool{}}
	n.plan.Clients = slices.Clone(plan.Clients) // Move changes them
	n.plan.MTU = cmp.Or(plan.MTU, DefaultMTU)
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	b := builder{n: n, macs: newMACs(&n.plan)}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"namespaces", b.openNamespaces}, {"sysctls", b.quietNamespaces}, {"links", b.makeLinks}, {"offloads", b.pinOffloads},
		{"switch", b.makeSwitch}, {"up", b.bringUp}, {"addresses", b.configure}, {"tunnels", b.makeTunnels},
		{"counters", b.readCounters},
	} {
		start := time.Now()
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("wiring the lab: %w", context.Cause(ctx))
		}
		if err := step.do(ctx); err != nil {
			return nil, fmt.Errorf("wiring the lab: %w", err)
		}
		n.Steps = append(n.Steps, Step{Name: step.name, Took: time.Since(start)})
	}
	return n, nil
}

// Step is a part of the wiring.
type Step struct {
	Name string
	Took time.Duration
}

func (b *builder) readCounters(context.Context) (err error) {
	b.n.began, err = b.n.readStatistics()
	return err
}

// newGroup draws an interface group number that no other lab's links in the
// same namespace have.
func newGroup() uint32 {
	var b [4]byte
	rand.Read(b[:]) //nolint:errcheck // never fails since Go 1.24
	return 1<<30 | binary.NativeEndian.Uint32(b[:])>>2
}

type builder struct {
	n                      *Network
	macs                   *macs
	ports, trunks, workers []*pair // in the plan's order; near: the switch, the host, the host
}

func (b *builder) pairs() []*pair { return slices.Concat(b.trunks, b.ports, b.workers) }

func (b *builder) openNamespaces(context.Context) error {
	n := b.n
	var err error
	if n.host, err = hostNamespace(); err != nil {
		return err
	}
	n.nodes = append(n.nodes, n.host)
	if n.sw, err = scratchNamespace(SwitchNode); err != nil {
		return err
	}
	n.nodes = append(n.nodes, n.sw)
	open := func(node string, inHost bool) error {
		pid := n.plan.PIDs[node]
		ns, err := processNamespace(node, pid)
		if err != nil {
			return err
		}
		n.nodes = append(n.nodes, ns)
		same, err := ns.same(n.host)
		if err == nil && same && !inHost {
			err = fmt.Errorf("opening the network namespace of %s: process %d is in the host's own, so its container has no network namespace to wire", node, pid)
		}
		return err
	}
	for _, c := range n.plan.Clients {
		if err := open(c.Name, false); err != nil {
			return err
		}
	}
	for _, w := range n.plan.Workers {
		if err := open(w.Name, w.InHost); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) quietNamespaces(context.Context) error {
	p, err := openProcfs()
	if err != nil {
		return err
	}
	for _, ns := range b.n.nodes {
		ipv6 := b.n.plan.IPv6 && ns != b.n.host && ns != b.n.sw
		if err := p.quiet(ns, ipv6); err != nil {
			return errors.Join(err, p.close())
		}
	}
	return p.close()
}

func (b *builder) makeLinks(ctx context.Context) error {
	n, plan := b.n, &b.n.plan
	for i := range plan.Trunks {
		name := topology.TrunkName(i)
		b.trunks = append(b.trunks, &pair{
			ns: n.host, name: name, mac: b.macs.next(),
			farNS: n.sw, farName: name, farMAC: b.macs.next(), mtu: plan.MTU + TrunkHeadroom,
		})
	}
	for _, c := range plan.Clients {
		b.ports = append(b.ports, &pair{
			ns: n.sw, name: c.Name, mac: b.macs.next(),
			farNS: n.node(c.Name), farName: topology.NodeInterface, farMAC: c.MAC, mtu: plan.MTU, offloads: c.Offloads,
		})
	}
	for _, w := range plan.Workers {
		b.workers = append(b.workers, n.workerPair(w, b.macs.next()))
	}
	for _, p := range b.pairs() {
		if err := ctx.Err(); err != nil {
			return err
		}
		p.group = n.group
		if i := slices.Index(b.workers, p); i >= 0 {
			if err := n.makeWorker(p, plan.Workers[i].Kind); err != nil {
				return err
			}
		} else if err := makePair(p); err != nil {
			return err
		}
	}
	n.trunks, n.clients, n.workers = links(b.trunks), links(b.ports), links(b.workers)
	return nil
}

// workerPair is a worker's link, with a MAC for its host end.
func (n *Network) workerPair(w topology.Worker, mac demux.MAC) *pair {
	return &pair{
		ns: n.host, name: w.Name, mac: mac, group: n.group,
		farNS: n.node(w.Name), farName: topology.NodeInterface, farMAC: w.MAC, mtu: cmp.Or(w.MTU, n.plan.MTU), offloads: w.Offloads,
	}
}

func links(pairs []*pair) []link {
	var all []link
	for _, p := range pairs {
		all = append(all, link{
			near: end{node: p.ns.node, name: p.name, tap: cmp.Or(p.tapped, p.name), index: p.index, mac: p.mac},
			far:  end{node: p.farNS.node, name: p.farName, tap: p.farName, index: p.farIndex, mac: p.farMAC},
		})
	}
	return all
}

// pinOffloads sets both ends of a link alike. A super-packet stays whole as
// long as each interface that sends it on can carry it, and is segmented in
// front of the first that cannot; so trunks have offloads as soon as anybody
// has them, and a node without them sees wire frames, from whomever they come.
func (b *builder) pinOffloads(context.Context) error {
	family, err := ethtoolFamily()
	if err != nil {
		return err
	}
	anybody := slices.ContainsFunc(b.pairs(), func(p *pair) bool { return p.offloads })
	for _, p := range b.trunks {
		p.offloads = anybody
	}
	for _, p := range b.pairs() {
		if err := p.pinOffloads(family, b.n.plan.SuperPacket); err != nil {
			return err
		}
	}
	return nil
}

// pinOffloads sets them at both ends, and with superPacket the most octets of one.
func (p *pair) pinOffloads(family, superPacket int) error {
	near := cmp.Or(p.lower, p.index)
	err := errors.Join(p.ns.pinOffloads(family, near, p.offloads), p.farNS.pinOffloads(family, p.farIndex, p.offloads))
	if err == nil && superPacket != 0 && p.offloads {
		err = errors.Join(p.ns.allowSuperPackets(near, superPacket), p.farNS.allowSuperPackets(p.farIndex, superPacket))
	}
	return err
}

// allowSuperPackets sets the most octets of a TCP super-packet that an interface is given.
func (ns *namespace) allowSuperPackets(index, octets int) error {
	err := errors.Join(ns.handle.LinkSetGSOMaxSize(byIndex(index), octets), ns.handle.LinkSetGSOIPv4MaxSize(byIndex(index), octets))
	if err != nil {
		return fmt.Errorf("allowing super-packets of %d octets at interface %d of %s: %w", octets, index, ns.node, err)
	}
	return nil
}

func (b *builder) makeSwitch(ctx context.Context) error {
	k, err := kindCalled(b.n.plan.Switch)
	if err != nil {
		return err
	}
	return k.explain(b.buildSwitch(ctx, k))
}

func (b *builder) buildSwitch(ctx context.Context, k kind) error {
	n := b.n
	built, err := k.build(inside{ns: n.sw, group: n.group, macs: b.macs, mtu: n.plan.MTU})
	if err != nil {
		return fmt.Errorf("making the switch %s: %w", k.name, err)
	}
	n.inside = built
	for i, p := range b.trunks {
		// A VLAN subinterface can come up only on a trunk that is.
		if err := p.up(); err != nil {
			return err
		}
		if err := p.awaitUp(ctx); err != nil {
			return err
		}
		if err := n.inside.addTrunk(ctx, i, p.farIndex); err != nil {
			return err
		}
	}
	ports := make([]access, 0, len(b.ports))
	for i, p := range b.ports {
		ports = append(ports, access{p.index, n.plan.Clients[i].Place})
	}
	if err := n.inside.addPorts(ctx, ports...); err != nil {
		return fmt.Errorf("plugging in the clients: %w", err)
	}
	return nil
}

func (b *builder) bringUp(ctx context.Context) error {
	for _, p := range slices.Concat(b.ports, b.workers) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.up(); err != nil {
			return err
		}
	}
	for _, p := range b.pairs() {
		if err := p.awaitUp(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (p *pair) awaitUp(ctx context.Context) error {
	if err := p.ns.awaitUp(ctx, p.index); err != nil {
		return err
	}
	return p.farNS.awaitUp(ctx, p.farIndex)
}

func (p *pair) up() error {
	if p.beside != nil {
		if err := p.ns.handle.LinkSetUp(p.beside); err != nil {
			return fmt.Errorf("bringing what is beside interface %s up: %w", p.name, err)
		}
	}
	if err := p.ns.up(p.index); err != nil {
		return err
	}
	return p.farNS.up(p.farIndex)
}

func (b *builder) configure(context.Context) error {
	for i, p := range b.ports {
		if err := p.farNS.configure(p.farIndex, b.n.plan.Clients[i].Addresses); err != nil {
			return err
		}
	}
	for i, p := range b.workers {
		if err := p.farNS.configure(p.farIndex, b.n.plan.Workers[i].Addresses); err != nil {
			return err
		}
	}
	return nil
}

func (ns *namespace) configure(index int, addresses []netip.Prefix) error {
	link := byIndex(index)
	for _, a := range addresses {
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen())}}
		if a.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD // usable at once, and nobody is asked
		}
		if err := ns.handle.AddrAdd(link, addr); err != nil {
			return fmt.Errorf("giving %s the address %v: %w", ns.node, a, err)
		}
	}
	return nil
}
