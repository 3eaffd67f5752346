package wire

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

// pair is a veth pair to be made: near in ns, far in farNS.
type pair struct {
	ns, farNS       *namespace
	name, farName   string
	mac, farMAC     demux.MAC
	mtu             int
	group           uint32 // of the near end; deleting the group deletes the pair
	index, farIndex int    // filled in by makePair
	offloads        bool
	beside          netlink.Link // in ns: what a worker's link needs besides, nil for nothing
	lower           int          // in ns: the veth of a macvlan or IFB, whose own offloads are software that only super-packets meet
	tapped          string       // in ns: where taps see the link's frames; "" is name
}

// makePair makes a veth pair with each end in its final place, under its final
// name: one request, nothing is renamed or moved.
func makePair(p *pair) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = p.name
	attrs.HardwareAddr = p.mac[:]
	attrs.MTU = p.mtu
	attrs.Group = p.group
	veth := netlink.NewVeth(attrs)
	veth.PeerName = p.farName
	veth.PeerHardwareAddr = p.farMAC[:]
	veth.PeerMTU = uint32(p.mtu)
	veth.PeerNamespace = netlink.NsFd(p.farNS.fd())
	doing := fmt.Sprintf("making the link %s/%s – %s/%s", p.ns.node, p.name, p.farNS.node, p.farName)
	err := p.ns.handle.LinkAdd(veth)
	switch {
	case errors.Is(err, syscall.EEXIST):
		return fmt.Errorf("%s: one of the two namespaces already has an interface of that name: %w", doing, err)
	case errors.Is(err, syscall.EOPNOTSUPP):
		return fmt.Errorf("%s: this kernel has no veth (try: modprobe veth): %w", doing, err)
	case err != nil:
		return fmt.Errorf("%s: %w", doing, err)
	}
	if p.index, err = p.ns.index(p.name); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if p.farIndex, err = p.farNS.index(p.farName); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}

func (ns *namespace) index(name string) (int, error) {
	l, err := ns.handle.LinkByName(name)
	if err != nil {
		return 0, fmt.Errorf("looking for interface %s of %s: %w", name, ns.node, err)
	}
	return l.Attrs().Index, nil
}

func (ns *namespace) up(index int) error {
	if err := ns.handle.LinkSetUp(byIndex(index)); err != nil {
		return fmt.Errorf("bringing interface %d of %s up: %w", index, ns.node, err)
	}
	return nil
}

// deleteGroup deletes every interface of a group, and the other ends of the
// pairs among them, in one go: a veth takes 16 ms by itself, nearly all of it
// waiting for readers, which a batch does once. A group without members is no
// error.
func (ns *namespace) deleteGroup(group uint32) error {
	_, err := ns.execute(unix.NETLINK_ROUTE, func() *nl.NetlinkRequest {
		req := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
		req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
		req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(group)))
		return req
	})
	if err != nil && !errors.Is(err, syscall.ENODEV) {
		return fmt.Errorf("deleting the lab's links from %s: %w", ns.node, err)
	}
	return nil
}
