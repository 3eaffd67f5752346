package wire

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/harness/internal/topology"
)

const (
	vxlanPort, genevePort = 4789, 6081
	tunnelRoom            = 50 // octets of all headers of the largest: Ethernet, IPv4, UDP and VXLAN or Geneve
	tunnelTTL             = 64
)

type tunnelEnd struct {
	ns    *namespace
	index int
}

// makeTunnels makes the ends of tunnels in the nodes that join, over links that are up.
func (b *builder) makeTunnels(context.Context) error {
	plan := &b.n.plan
	for _, t := range plan.Tunnels {
		c := slices.IndexFunc(plan.Clients, func(c topology.Client) bool { return c.Name == t.Client })
		w := slices.IndexFunc(plan.Workers, func(w topology.Worker) bool { return w.Name == t.Worker })
		if c < 0 || w < 0 || len(plan.Clients[c].Addresses) == 0 || len(plan.Workers[w].Addresses) == 0 {
			return fmt.Errorf("making a tunnel between %s and %s: both need an address", t.Client, t.Worker)
		}
		client, worker := plan.Clients[c].Addresses[0].Addr(), plan.Workers[w].Addresses[0].Addr()
		for _, p := range b.pairs {
			var err error
			switch p.farNS.node {
			case t.Client:
				err = b.makeTunnel(t.Kind, p, client, worker, t.ClientAddress)
			case t.Worker:
				err = b.makeTunnel(t.Kind, p, worker, client, t.WorkerAddress)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *builder) makeTunnel(kind string, p *pair, local, remote netip.Addr, inner netip.Prefix) error {
	ns := p.farNS
	link := tunnelLink(kind, p.mtu-tunnelRoom, p.farIndex, b.n.macs.next(), local, remote)
	if link == nil {
		return fmt.Errorf("making the tunnel of %s: there is no kind %q", ns.node, kind)
	}
	err := ns.handle.LinkAdd(link)
	if err == nil {
		b.n.tunnels = append(b.n.tunnels, tunnelEnd{ns, link.Attrs().Index})
		err = ns.up(link.Attrs().Index)
	}
	if err == nil {
		err = ns.configure(link.Attrs().Index, []netip.Prefix{inner})
	}
	if err != nil {
		return fmt.Errorf("making the tunnel of %s, a %s: %w", ns.node, kind, err)
	}
	return nil
}

// tunnelLink is the device of a tunnel over the interface below, nil if there is no such kind.
func tunnelLink(kind string, mtu, below int, mac demux.MAC, local, remote netip.Addr) netlink.Link {
	ip := netlink.LinkAttrs{Name: "tunnel-" + kind, MTU: mtu, TxQLen: -1}
	ethernet := ip
	ethernet.HardwareAddr = mac[:]
	switch kind {
	case topology.TunnelVXLAN:
		return &netlink.Vxlan{LinkAttrs: ethernet, VxlanId: 1, Port: vxlanPort, VtepDevIndex: below, SrcAddr: local.AsSlice(), Group: remote.AsSlice()}
	case topology.TunnelGeneve:
		return &netlink.Geneve{LinkAttrs: ethernet, ID: 1, Dport: genevePort, Remote: remote.AsSlice(), Ttl: tunnelTTL}
	case topology.TunnelGRETAP:
		return &netlink.Gretap{LinkAttrs: ethernet, Local: local.AsSlice(), Remote: remote.AsSlice(), Ttl: tunnelTTL, PMtuDisc: 1}
	case topology.TunnelGRE:
		return &netlink.Gretun{LinkAttrs: ip, Local: local.AsSlice(), Remote: remote.AsSlice(), Ttl: tunnelTTL, PMtuDisc: 1}
	case topology.TunnelIPIP:
		return &netlink.Iptun{LinkAttrs: ip, Local: local.AsSlice(), Remote: remote.AsSlice(), Ttl: tunnelTTL, PMtuDisc: 1, Proto: unix.IPPROTO_IPIP}
	}
	return nil
}

// missingTunnels tries to make each kind in a network namespace of its own.
func missingTunnels() (missing []string, err error) {
	ns, err := scratchNamespace("trying tunnels")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, ns.close()) }()
	local, remote := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for _, kind := range topology.TunnelKinds() {
		switch err := ns.handle.LinkAdd(tunnelLink(kind, DefaultMTU-tunnelRoom, 0, demux.MAC{2}, local, remote)); {
		case lacking(err), errors.Is(err, os.ErrPermission):
			missing = append(missing, kind)
		case err != nil:
			return nil, fmt.Errorf("trying a tunnel, a %s: %w", kind, err)
		}
	}
	return missing, nil
}

// closeTunnels deletes what would stay in the nodes without its link.
func (n *Network) closeTunnels() error {
	var errs []error
	for _, t := range n.tunnels {
		if err := t.ns.handle.LinkDel(byIndex(t.index)); err != nil && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, fmt.Errorf("deleting the tunnel of %s: %w", t.ns.node, err))
		}
	}
	return errors.Join(errs...)
}
