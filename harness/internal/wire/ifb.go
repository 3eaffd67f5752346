package wire

import (
	"errors"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// makeIFB makes a veth pair and before its near end an IFB, as traffic is shaped: what the
// IFB is to send leaves at the veth, and what comes to the veth the IFB receives. Left to itself an IFB
// would give a frame back to the interface it came from. Taps see the veth, since tc is before them.
func makeIFB(p *pair) error {
	name := p.name
	p.name += "-lower"
	if err := makePair(p); err != nil {
		return err
	}
	ifb := &netlink.Ifb{LinkAttrs: netlink.LinkAttrs{Name: name, Group: p.group, MTU: p.mtu, TxQLen: -1}}
	if err := p.ns.handle.LinkAdd(ifb); err != nil {
		return err
	}
	p.beside, p.lower, p.index, p.tapped, p.name = byIndex(p.index), p.index, ifb.Index, p.name, name
	for _, redirect := range []struct {
		from, to int
		parent   uint32
		action   netlink.MirredAct
	}{
		{p.index, p.lower, netlink.HANDLE_MIN_EGRESS, netlink.TCA_EGRESS_REDIR},
		{p.lower, p.index, netlink.HANDLE_MIN_INGRESS, netlink.TCA_INGRESS_REDIR},
	} {
		mirred := netlink.NewMirredAction(redirect.to)
		mirred.MirredAction = redirect.action
		err := errors.Join(
			p.ns.handle.QdiscAdd(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
				LinkIndex: redirect.from, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
			}}),
			p.ns.handle.FilterAdd(&netlink.U32{
				FilterAttrs: netlink.FilterAttrs{LinkIndex: redirect.from, Parent: redirect.parent, Priority: 1, Protocol: unix.ETH_P_ALL},
				Actions:     []netlink.Action{mirred},
			}),
		)
		if err != nil {
			return err
		}
	}
	return nil
}
