package wire

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
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
	addresses       []netip.Prefix // of the far end
	beside          netlink.Link   // in ns: what a worker's link needs besides, nil for nothing
	lower           int            // in ns: the veth of a macvlan or IFB, whose own offloads are software that only super-packets meet
	tapped          string         // in ns: where taps see the link's frames; "" is name
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

// upTimeout is how long a link may take to become operational; the kernel's
// own limit is a second.
const upTimeout = 10 * time.Second

// awaitUp returns once the interfaces, which have been brought up with their
// peers, are operational. Until then they drop what they are to send: an end
// whose peer comes up after it gets its queues from the kernel's link watch,
// some milliseconds later, and a bridge does not forward to it before.
func (ns *namespace) awaitUp(ctx context.Context, indexes ...int) error {
	if down, err := ns.firstDown(indexes); err != nil || down == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, upTimeout)
	defer cancel()
	// Subscribed before looking again, so that no change falls in between.
	events, err := nl.SubscribeAt(netns.NsHandle(ns.fd()), netns.None(), unix.NETLINK_ROUTE, unix.RTNLGRP_LINK)
	if err != nil {
		return fmt.Errorf("subscribing to link changes of %s: %w", ns.node, err)
	}
	defer events.Close()
	defer context.AfterFunc(ctx, events.Close)() // ends Receive
	for {
		down, err := ns.firstDown(indexes)
		if err != nil || down == 0 {
			return err
		}
		_, _, err = events.Receive()
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("waiting for interface %d of %s to become operational: %w", down, ns.node, ctx.Err())
		case err != nil && !errors.Is(err, syscall.ENOBUFS) && !errors.Is(err, syscall.EINTR):
			return fmt.Errorf("waiting for interface %d of %s to become operational: %w", down, ns.node, err)
		}
	}
}

// firstDown is the first interface that is not operational, 0 if there is none.
func (ns *namespace) firstDown(indexes []int) (int, error) {
	for _, i := range indexes {
		l, err := ns.handle.LinkByIndex(i)
		if err != nil {
			return 0, fmt.Errorf("reading interface %d of %s: %w", i, ns.node, err)
		}
		if (l.Type() == "tuntap" || l.Type() == "ifb") && l.Attrs().RawFlags&unix.IFF_LOWER_UP != 0 {
			continue // these know no operational state
		}
		if l.Attrs().OperState != netlink.OperUp {
			return i, nil
		}
	}
	return 0, nil
}
