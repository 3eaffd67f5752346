package wire

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/vlandemux/vlandemux/harness/internal/topology"
)

const (
	tunnelName = "vxlan0"
	tunnelPort = 4789
	tunnelRoom = 50 // octets of Ethernet, IPv4, UDP and VXLAN
)

// makeTunnels makes both ends of each tunnel, over links that are up. A tunnel goes with its link.
func (b *builder) makeTunnels(context.Context) error {
	plan := &b.n.plan
	for _, t := range plan.Tunnels {
		c := slices.IndexFunc(plan.Clients, func(c topology.Client) bool { return c.Name == t.Client })
		w := slices.IndexFunc(plan.Workers, func(w topology.Worker) bool { return w.Name == t.Worker })
		if c < 0 || w < 0 || len(plan.Clients[c].Addresses) == 0 || len(plan.Workers[w].Addresses) == 0 {
			return fmt.Errorf("making a tunnel between %s and %s: both need an address", t.Client, t.Worker)
		}
		client, worker := plan.Clients[c].Addresses[0].Addr(), plan.Workers[w].Addresses[0].Addr()
		if err := b.makeTunnel(b.ports[c], client, worker, t.ClientAddress); err != nil {
			return err
		}
		if err := b.makeTunnel(b.workers[w], worker, client, t.WorkerAddress); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) makeTunnel(p *pair, local, remote netip.Addr, inner netip.Prefix) error {
	mac := b.macs.next()
	link := &netlink.Vxlan{
		LinkAttrs: netlink.LinkAttrs{Name: tunnelName, MTU: p.mtu - tunnelRoom, HardwareAddr: mac[:]},
		VxlanId:   1, Port: tunnelPort, VtepDevIndex: p.farIndex, SrcAddr: local.AsSlice(), Group: remote.AsSlice(),
	}
	ns := p.farNS
	err := ns.handle.LinkAdd(link)
	if err == nil {
		err = ns.up(link.Index)
	}
	if err == nil {
		err = ns.configure(link.Index, []netip.Prefix{inner})
	}
	if err != nil {
		return fmt.Errorf("making the tunnel of %s: %w", ns.node, err)
	}
	return nil
}
