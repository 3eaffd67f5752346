package wire

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/harness/internal/topology"
)

// Apply lays plan, the calling process's network namespace being the host: the
// trunks, and the links of the nodes that plan.PIDs names. The
// others follow with [Network.Join]. The caller has validated the topology. On
// an error everything it made is gone again.
func Apply(ctx context.Context, plan Plan) (_ *Network, err error) {
	n := &Network{group: newGroup(), plan: plan, macs: newMACs(&plan), began: counterFiles{}, unsure: map[int]bool{}}
	n.plan.Clients = slices.Clone(plan.Clients) // Move changes them
	n.plan.MTU = cmp.Or(plan.MTU, DefaultMTU)
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	n.nameLinks()
	b := builder{n: n}
	if n.Steps, err = run(ctx, []step{
		{"namespaces", b.openOwn}, {"sysctls", b.quietNamespaces}, {"links", b.makeTrunks}, {"offloads", b.pinOffloads},
		{"up", b.bringUp}, {"counters", b.readCounters},
	}); err != nil {
		return nil, err
	}
	steps, err := n.Join(ctx, plan.PIDs)
	if err != nil {
		return nil, err
	}
	n.Steps = append(n.Steps, steps...)
	return n, nil
}

// Join lays the links of clients and workers, named with the process ID of a
// process in the network namespace of each. The order keeps the lab silent:
// sysctls, links (down), offloads, the switch (the first clients') and its ports, ports and workers up,
// addresses. After an error the Network can only be closed.
func (n *Network) Join(ctx context.Context, pids map[string]int) ([]Step, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.closed:
		return nil, errClosed
	case len(pids) == 0:
		return nil, nil
	}
	return n.join(ctx, pids)
}

func (n *Network) join(ctx context.Context, pids map[string]int) ([]Step, error) {
	b := builder{n: n}
	return run(ctx, []step{
		{"namespaces", func(context.Context) error { return b.openNodes(pids) }}, {"sysctls", b.quietNamespaces}, {"links", b.makeLinks},
		{"offloads", b.pinOffloads}, {"switch", b.plugIn}, {"up", b.bringUp}, {"addresses", b.configure}, {"tunnels", b.makeTunnels},
		{"counters", b.readCounters},
	})
}

type step struct {
	name string
	do   func(context.Context) error
}

func run(ctx context.Context, steps []step) (took []Step, err error) {
	for _, s := range steps {
		start := time.Now()
		if err = context.Cause(ctx); err == nil {
			err = s.do(ctx)
		}
		if err != nil {
			return took, fmt.Errorf("wiring the lab: %w", err)
		}
		took = append(took, Step{Name: s.name, Took: time.Since(start)})
	}
	return took, nil
}

// Step is a part of the wiring.
type Step struct {
	Name string
	Took time.Duration
}

// newGroup draws an interface group number that no other lab's links in the
// same namespace have.
func newGroup() uint32 {
	var b [4]byte
	rand.Read(b[:]) //nolint:errcheck // never fails since Go 1.24
	return 1<<30 | binary.NativeEndian.Uint32(b[:])>>2
}

// nameLinks gives every link of the plan its names and addresses, whenever it is made.
func (n *Network) nameLinks() {
	add := func(links *[]link, near, far end) {
		if near.mac = n.macs.next(); far.mac == (demux.MAC{}) {
			far.mac = n.macs.next()
		}
		*links = append(*links, link{near, far})
	}
	for i := range n.plan.Trunks {
		name := topology.TrunkName(i)
		add(&n.trunks, end{node: HostNode, name: name}, end{node: SwitchNode, name: name})
	}
	for _, c := range n.plan.Clients {
		add(&n.clients, end{node: SwitchNode, name: c.Name}, end{node: c.Name, name: topology.NodeInterface, mac: c.MAC})
	}
	for _, w := range n.plan.Workers {
		add(&n.workers, end{node: HostNode, name: w.Name}, end{node: w.Name, name: topology.NodeInterface, mac: w.MAC})
	}
}

// builder makes some of the links.
type builder struct {
	n                *Network
	nodes            []*namespace // new ones
	clients, workers []int        // those of the plan that join
	pairs            []*pair      // clients' first
}

// open holds the namespace of a new node, which n closes in the end.
func (b *builder) open(ns *namespace, err error) (*namespace, error) {
	if err == nil {
		b.nodes, b.n.nodes = append(b.nodes, ns), append(b.n.nodes, ns)
	}
	return ns, err
}

func (b *builder) openOwn(context.Context) (err error) {
	if b.n.host, err = b.open(hostNamespace()); err == nil {
		b.n.sw, err = b.open(b.n.plan.Space.open())
	}
	return err
}

func (b *builder) openNodes(pids map[string]int) error {
	open := func(node string, inHost bool) error {
		ns, err := b.open(processNamespace(node, pids[node]))
		if err != nil {
			return err
		}
		same, err := ns.same(b.n.host)
		if err == nil && same && !inHost {
			err = fmt.Errorf("opening the network namespace of %s: process %d is in the host's own, so its container has no network namespace to wire", node, pids[node])
		}
		return err
	}
	for i, c := range b.n.plan.Clients {
		if pids[c.Name] == 0 {
			continue
		}
		b.clients = append(b.clients, i)
		if err := open(c.Name, false); err != nil {
			return err
		}
	}
	for i, w := range b.n.plan.Workers {
		if pids[w.Name] == 0 {
			continue
		}
		b.workers = append(b.workers, i)
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
	for _, ns := range b.nodes {
		ipv6 := b.n.plan.IPv6 && ns != b.n.host && ns != b.n.sw
		if err := p.quiet(ns, ipv6); err != nil {
			return errors.Join(err, p.close())
		}
	}
	return p.close()
}

func (b *builder) readCounters(context.Context) error {
	files, err := readStatistics(b.nodes)
	maps.Copy(b.n.began, files)
	return err
}

// make makes a link, by do.
func (b *builder) make(ctx context.Context, l *link, p *pair, do func(*pair) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p.ns, p.name, p.mac, p.group = b.n.node(l.near.node), l.near.name, l.near.mac, b.n.group
	p.farNS, p.farName, p.farMAC = b.n.node(l.far.node), l.far.name, l.far.mac
	b.pairs = append(b.pairs, p)
	if err := do(p); err != nil {
		return err
	}
	l.near.tap, l.far.tap = cmp.Or(p.tapped, p.name), p.farName
	l.near.index, l.far.index = p.index, p.farIndex
	return nil
}

// makeTrunks gives trunks offloads as soon as anybody has them, see pinOffloads.
func (b *builder) makeTrunks(ctx context.Context) error {
	for i := range b.n.trunks {
		if err := b.make(ctx, &b.n.trunks[i], &pair{mtu: b.n.plan.MTU + TrunkHeadroom, offloads: b.n.plan.offloads()}, makePair); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) makeLinks(ctx context.Context) error {
	n := b.n
	for _, i := range b.clients {
		c := n.plan.Clients[i]
		if err := b.make(ctx, &n.clients[i], &pair{mtu: n.plan.MTU, offloads: c.Offloads, addresses: c.Addresses}, makePair); err != nil {
			return err
		}
	}
	for _, i := range b.workers {
		w := n.plan.Workers[i]
		p := &pair{mtu: cmp.Or(w.MTU, n.plan.MTU), offloads: w.Offloads, addresses: w.Addresses}
		if err := b.make(ctx, &n.workers[i], p, func(p *pair) error { return n.makeWorker(p, w.Kind) }); err != nil {
			return err
		}
	}
	return nil
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
	for _, p := range b.pairs {
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

// plugIn makes the switch for the first clients that join: vlandemux needs the trunks alone, and can start meanwhile.
func (b *builder) plugIn(ctx context.Context) error {
	k, err := kindCalled(b.n.plan.Switch)
	if err != nil || len(b.clients) == 0 {
		return err
	}
	if b.n.inside == nil {
		if err := b.n.makeSwitch(ctx, k); err != nil {
			return k.explain(fmt.Errorf("making the switch %s: %w", k.name, err))
		}
	}
	ports := make([]access, 0, len(b.clients))
	for i, client := range b.clients {
		ports = append(ports, access{b.pairs[i].index, b.n.plan.Clients[client].Place})
	}
	if err := b.n.inside.addPorts(ctx, ports...); err != nil {
		return k.explain(fmt.Errorf("plugging in the clients: %w", err))
	}
	return nil
}

// makeSwitch makes the switch with its trunks, which are up: a VLAN subinterface can come up only on one that is.
func (n *Network) makeSwitch(ctx context.Context, k kind) (err error) {
	if n.inside, err = k.build(inside{ns: n.sw, group: n.group, macs: n.macs, mtu: n.plan.MTU}); err != nil {
		return err
	}
	for i, trunk := range n.trunks {
		if err := n.inside.addTrunk(ctx, i, trunk.far.index); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) bringUp(ctx context.Context) error {
	for _, p := range b.pairs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.up(); err != nil {
			return err
		}
	}
	for _, p := range b.pairs {
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
	for _, p := range b.pairs {
		if err := p.farNS.configure(p.farIndex, p.addresses); err != nil {
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
