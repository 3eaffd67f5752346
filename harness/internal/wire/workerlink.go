package wire

import (
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/harness/internal/topology"
)

// makeWorker makes a worker's link, whose near end is of the kind that the topology asks for.
func (n *Network) makeWorker(p *pair, kind string) error {
	var err error
	switch kind {
	case topology.WorkerVeth:
		return makePair(p)
	case topology.WorkerTAP:
		err = n.makeTAPs(p)
	case topology.WorkerIFB:
		err = makeIFB(p)
	case topology.WorkerMACVLAN, topology.WorkerBridgePort:
		name := p.name
		if kind == topology.WorkerMACVLAN {
			p.name += "-lower"
		}
		if err := makePair(p); err != nil {
			return err
		}
		attrs := netlink.LinkAttrs{Name: name, Group: p.group, MTU: p.mtu, ParentIndex: p.index}
		var other netlink.Link = &netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_PASSTHRU}
		if kind == topology.WorkerBridgePort {
			snooping := false // or it speaks itself
			other = &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name + "-bridge", Group: p.group, MTU: p.mtu}, MulticastSnooping: &snooping}
		}
		if err = p.ns.handle.LinkAdd(other); err != nil {
			break
		}
		p.beside, p.name = byIndex(other.Attrs().Index), name
		if kind == topology.WorkerMACVLAN {
			p.beside, p.lower, p.index = byIndex(p.index), p.index, other.Attrs().Index
			break
		}
		err = p.ns.handle.LinkSetMaster(byIndex(p.index), other)
	default:
		err = errors.New("there is no such kind of worker")
	}
	if err != nil {
		return fmt.Errorf("making the link of worker %s, a %s: %w", p.name, kind, err)
	}
	return nil
}

// makeTAPs makes both ends TAP devices, and is the cable between them.
func (n *Network) makeTAPs(p *pair) error {
	near, err := openTAP(p.ns, p.name)
	if err != nil {
		return err
	}
	n.cables = append(n.cables, near)
	far, err := openTAP(p.farNS, p.farName)
	if err != nil {
		return err
	}
	n.cables = append(n.cables, far)
	if p.index, err = p.ns.index(p.name); err != nil {
		return err
	}
	if p.farIndex, err = p.farNS.index(p.farName); err != nil {
		return err
	}
	if err := errors.Join(
		p.ns.handle.LinkSetHardwareAddr(byIndex(p.index), p.mac[:]), p.farNS.handle.LinkSetHardwareAddr(byIndex(p.farIndex), p.farMAC[:]),
		p.ns.handle.LinkSetMTU(byIndex(p.index), p.mtu), p.farNS.handle.LinkSetMTU(byIndex(p.farIndex), p.mtu),
	); err != nil {
		return err
	}
	carry := func(to, from *os.File) {
		frame := make([]byte, 64<<10)
		for {
			length, err := from.Read(frame)
			if err != nil {
				return // the lab's end
			}
			if _, err := to.Write(frame[:length]); err != nil {
				return // its frames are missing, and the ledger says so
			}
		}
	}
	go carry(far, near)
	go carry(near, far)
	return nil
}

// openTAP makes a TAP device in a namespace, which goes when the file is closed.
func openTAP(ns *namespace, name string) (*os.File, error) {
	const path = "/dev/net/tun"
	fd := -1
	err := ns.do(func() (err error) { // the device comes to be where the file was opened
		if fd, err = unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err != nil {
			return fmt.Errorf("opening %s (on the machine of the Docker engine: sudo modprobe tun): %w", path, err)
		}
		request, err := unix.NewIfreq(name)
		if err != nil {
			return errors.Join(err, unix.Close(fd))
		}
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
			return errors.Join(fmt.Errorf("making the TAP device %s: %w", name, err), unix.Close(fd))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

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
