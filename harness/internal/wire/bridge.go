package wire

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

// switcher is the inside of a switch. Its methods are called one at a time.
type switcher interface {
	// addTrunk makes the interface with that index in the switch's namespace
	// the trunk of the given number.
	addTrunk(ctx context.Context, number, index int) error
	// addPort makes an interface an access port.
	addPort(ctx context.Context, index, trunk int, vlan VLAN) error
	// move plugs an access port in elsewhere.
	move(ctx context.Context, index int, to place) (MoveWindow, error)
	// close takes the switching away; the interfaces go afterwards.
	close() error
}

// place is a VLAN on a trunk.
type place struct {
	trunk int
	vlan  VLAN
}

func (p place) String() string { return fmt.Sprintf("%v on trunk %d", p.vlan, p.trunk) }

// key names a place in at most 11 characters.
func (p place) key() string {
	kind := "q"
	if p.vlan.Protocol == Protocol8021AD {
		kind = "ad"
	}
	return fmt.Sprintf("%d.%s%d", p.trunk, kind, p.vlan.VID)
}

const (
	// ageing of a bridge's learned addresses, in 1/100 s: thirty days, so
	// never within a lab. Zero would switch learning off.
	bridgeAgeing = 30 * 24 * 3600 * 100
	// groupForward lets a port forward every link-local group address
	// (01:80:c2:00:00:0X) but MAC pause (X = 1), which no bridge may.
	groupForward = 0xfffd
)

// bridgeSwitch is the switch of kernels with 8021q: per place a bridge holding
// the trunk's VLAN subinterface and the access ports. A bridge stays when its
// last port leaves it: it hears nothing but its own VLAN and sends nothing.
type bridgeSwitch struct {
	ns      *namespace
	group   uint32
	macs    *macs
	trunks  map[int]int   // number → ifindex
	bridges map[place]int // ifindex
}

var _ switcher = (*bridgeSwitch)(nil)

func newBridgeSwitch(ns *namespace, group uint32, macs *macs) *bridgeSwitch {
	return &bridgeSwitch{ns: ns, group: group, macs: macs, trunks: map[int]int{}, bridges: map[place]int{}}
}

func (s *bridgeSwitch) addTrunk(_ context.Context, number, index int) error {
	s.trunks[number] = index
	return nil
}

func (s *bridgeSwitch) addPort(ctx context.Context, index, trunk int, vlan VLAN) error {
	bridge, err := s.bridge(ctx, place{trunk, vlan})
	if err != nil {
		return err
	}
	return s.ns.enslave(index, bridge)
}

func (s *bridgeSwitch) move(ctx context.Context, index int, to place) (MoveWindow, error) {
	bridge, err := s.bridge(ctx, to)
	if err != nil {
		return MoveWindow{}, err
	}
	if err := ctx.Err(); err != nil {
		return MoveWindow{}, err
	}
	w := MoveWindow{Start: time.Now().UnixNano()}
	// One request takes the port out of the old bridge and puts it into the
	// new; the link stays up, and the client sees nothing of it.
	err = s.ns.enslave(index, bridge)
	w.End = time.Now().UnixNano()
	return w, err
}

func (s *bridgeSwitch) close() error { return nil }

// bridge finds or makes the bridge of a place.
func (s *bridgeSwitch) bridge(ctx context.Context, p place) (index int, err error) {
	if index, ok := s.bridges[p]; ok {
		return index, nil
	}
	trunk, ok := s.trunks[p.trunk]
	if !ok {
		return 0, fmt.Errorf("making the bridge of %v: there is no such trunk", p)
	}
	sub, err := s.makeVLAN(trunk, p)
	if err != nil {
		return 0, err
	}
	made := []int{sub}
	defer func() {
		for _, i := range made {
			if err != nil {
				err = errors.Join(err, s.ns.delete(i))
			}
		}
	}()
	if index, err = s.ns.makeBridge(bridgePrefix+p.key(), s.group, s.macs.next(), netlink.Bridge{}); err != nil {
		return 0, err
	}
	made = append(made, index)
	if err = s.ns.enslave(sub, index); err != nil {
		return 0, err
	}
	if err = errors.Join(s.ns.up(index), s.ns.up(sub)); err != nil {
		return 0, err
	}
	if err = s.ns.awaitUp(ctx, sub); err != nil {
		return 0, err
	}
	s.bridges[p] = index
	return index, nil
}

func (s *bridgeSwitch) makeVLAN(trunk int, p place) (int, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = vlanPrefix + p.key()
	attrs.ParentIndex = trunk
	reorder := true
	err := s.ns.handle.LinkAdd(&netlink.Vlan{
		LinkAttrs:    attrs,
		VlanId:       int(p.vlan.VID),
		VlanProtocol: netlink.VlanProtocol(p.vlan.Protocol),
		ReorderHdr:   &reorder,
	})
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.EPROTONOSUPPORT) {
		return 0, fmt.Errorf("making the VLAN subinterface of %v: %s: %w", p, no8021Q, err)
	}
	if err != nil {
		return 0, fmt.Errorf("making the VLAN subinterface of %v: %w", p, err)
	}
	return s.ns.index(attrs.Name)
}

// makeBridge makes a bridge that says nothing, forgets nothing and hands on
// everything; more says what else it is to be.
func (ns *namespace) makeBridge(name string, group uint32, mac demux.MAC, more netlink.Bridge) (int, error) {
	more.LinkAttrs = netlink.NewLinkAttrs()
	more.Name = name
	more.Group = group
	more.HardwareAddr = mac[:]
	// A new bridge has the spanning tree protocol off and no querier.
	snooping, ageing := false, uint32(bridgeAgeing)
	more.MulticastSnooping, more.AgeingTime = &snooping, &ageing
	err := ns.handle.LinkAdd(&more)
	switch {
	case errors.Is(err, syscall.EOPNOTSUPP) && more.VlanFiltering == nil:
		return 0, fmt.Errorf("making the bridge %s: this kernel has no bridge (try: modprobe bridge): %w", name, err)
	case err != nil:
		return 0, fmt.Errorf("making the bridge %s: %w", name, err)
	}
	return ns.index(name)
}

// enslave puts an interface into a bridge, out of whichever it was in.
func (ns *namespace) enslave(index, bridge int) error {
	if err := ns.setLink(unix.AF_UNSPEC, index, 0, nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(bridge)))); err != nil {
		return fmt.Errorf("putting interface %d of %s into bridge %d: %w", index, ns.node, bridge, err)
	}
	port := nl.NewRtAttr(unix.IFLA_PROTINFO|unix.NLA_F_NESTED, nil)
	port.AddRtAttr(nl.IFLA_BRPORT_GROUP_FWD_MASK, nl.Uint16Attr(groupForward))
	if err := ns.setLink(unix.AF_BRIDGE, index, 0, port); err != nil {
		return fmt.Errorf("setting up interface %d of %s as a bridge's port: %w", index, ns.node, err)
	}
	return nil
}

func (ns *namespace) delete(index int) error {
	if err := ns.handle.LinkDel(byIndex(index)); err != nil {
		return fmt.Errorf("deleting interface %d of %s: %w", index, ns.node, err)
	}
	return nil
}

// byIndex names an interface to package netlink.
func byIndex(index int) netlink.Link {
	attrs := netlink.NewLinkAttrs()
	attrs.Index = index
	return &netlink.GenericLink{LinkAttrs: attrs}
}
