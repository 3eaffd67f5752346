package wire

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
	"golang.org/x/sys/unix"
)

// switchBridge is the switch that is one VLAN-filtering bridge: each place is
// a VLAN of the bridge, of which the trunk is a tagged member and an access port
// an untagged one, with the VLAN as its PVID. Learning, flooding and filtering
// are the kernel's. Two things that such a bridge cannot do are rules of tc,
// which the kernel executes too:
//
//	c0 ── vl.N.port ══ vl.N.bridge ─┐
//	c1 ── vl.M.port ══ vl.M.bridge ─┴─ br.filter ── trunk0
//
// A port of the bridge takes a tag that a client sends for the bridge's own
// instead of carrying it. So a patch cable joins access port and bridge, and on
// its way into it a frame with an 802.1Q tag gets a priority tag in front, from
// which the bridge makes that of its PVID. (Without the cable, at the ingress of
// the bridge's own port, Linux 6.1 leaves such a frame misaligned and the bridge
// sends it without its first 4 octets; 6.12 does not. To an 802.1Q bridge a
// frame with an 802.1ad tag is untagged, so it needs no help.)
//
// And the bridge has one number space of one protocol, but the lab's trunks
// carry two, each of its own. A place keeps its VID if it can; else its trunk
// translates between the place's tag and that of a VLAN nobody uses.
type switchBridge struct {
	inside
	bridge int                  // ifindex, 0 until it is made
	trunks map[int]int          // number → ifindex
	vlans  map[Place]uint16     // of the bridge
	used   map[uint16]bool      // the bridge's VLANs that are some place's
	ports  map[int]*patchedPort // by ifindex
}

// patchedPort is an access port's end of things in the bridge.
type patchedPort struct {
	index int      // the bridge's end of the patch cable
	vlans []uint16 // those the port is in; more than one after a move that failed
}

var _ switcher = (*switchBridge)(nil)

// Priorities of the rules. Those of one protocol share one.
const (
	firstRule = iota + 2 // a fault comes before them
	secondRule
	lastRule
)

const lastVID = 4094

func kindBridge() kind {
	return kind{
		name: "bridge",
		advice: "this kernel has no VLAN-filtering bridge, or not what goes with it: it needs CONFIG_BRIDGE_VLAN_FILTERING, which no module adds, and flower and its actions, " +
			"which may have to be loaded on the machine that runs Docker (sudo modprobe -a bridge sch_ingress cls_flower act_vlan act_mirred act_gact); " +
			"or use another switch (VLANDEMUX_SWITCH=tc)",
		build: func(in inside) (switcher, error) {
			return &switchBridge{inside: in, trunks: map[int]int{}, vlans: map[Place]uint16{}, used: map[uint16]bool{}, ports: map[int]*patchedPort{}}, nil
		},
	}
}

func (s *switchBridge) addTrunk(_ context.Context, number, index int) error {
	if s.bridge == 0 {
		filtering, noPVID := true, uint16(0)
		bridge, err := s.ns.makeBridge(bridgePrefix+"filter", s.group, s.macs.next(), netlink.Bridge{VlanFiltering: &filtering, VlanDefaultPVID: &noPVID})
		if err != nil {
			return err
		}
		if err := s.ns.up(bridge); err != nil {
			return err
		}
		s.bridge = bridge
	}
	s.trunks[number] = index
	return s.ns.enslave(index, s.bridge)
}

func (s *switchBridge) addPorts(ctx context.Context, ports ...access) error {
	for _, p := range ports {
		if err := s.addPort(ctx, p.index, p.Place); err != nil {
			return err
		}
	}
	return nil
}

func (s *switchBridge) addPort(ctx context.Context, index int, place Place) error {
	vid, err := s.vlan(place)
	if err != nil {
		return err
	}
	cable := pair{
		ns: s.ns, name: fmt.Sprintf("%s%d.port", vlanPrefix, index), mac: s.macs.next(),
		farNS: s.ns, farName: fmt.Sprintf("%s%d.bridge", vlanPrefix, index), farMAC: s.macs.next(),
		mtu: s.mtu, group: s.group,
	}
	// Its offloads stay as a new veth has them: super-packets pass whole, and
	// none are made.
	if err := makePair(&cable); err != nil {
		return err
	}
	for _, r := range []rule{
		{index: index, where: atIngress, priority: firstRule, protocol: probe.Dot1Q, actions: []action{pushPriorityTag(), sendFrom(cable.index)}},
		{index: index, where: atIngress, priority: lastRule, protocol: unix.ETH_P_ALL, actions: []action{sendFrom(cable.index)}},
		{index: cable.index, where: atIngress, priority: firstRule, protocol: unix.ETH_P_ALL, actions: []action{sendFrom(index)}},
	} {
		if err := s.ns.addRule(r); err != nil {
			return fmt.Errorf("patching an access port into the bridge: %w", err)
		}
	}
	if err := s.ns.enslave(cable.farIndex, s.bridge); err != nil {
		return err
	}
	s.ports[index] = &patchedPort{index: cable.farIndex}
	if err := s.join(s.ports[index], vid); err != nil {
		return err
	}
	if err := cable.up(); err != nil {
		return err
	}
	return cable.awaitUp(ctx)
}

func (s *switchBridge) move(ctx context.Context, index int, to Place) (w MoveWindow, err error) {
	port := s.ports[index]
	vid, err := s.vlan(to)
	if err != nil {
		return w, err
	}
	if err := ctx.Err(); err != nil {
		return w, err
	}
	w.Start = time.Now().UnixNano()
	defer func() { w.End = time.Now().UnixNano() }()
	if err := s.join(port, vid); err != nil {
		return w, err
	}
	// What came in before may still be on its way and teach the bridge where
	// its sender was. Leaving a VLAN forgets what was learned of the port there,
	// so it has to come after that.
	if err := awaitReaders(); err != nil {
		return w, err
	}
	return w, s.leaveOthers(port, vid)
}

func (s *switchBridge) close() error { return nil }

// join makes a port an untagged member of a VLAN, which is its PVID from then on.
func (s *switchBridge) join(port *patchedPort, vid uint16) error {
	err := s.ns.handle.BridgeVlanAdd(byIndex(port.index), vid, true, true, false, false)
	if err != nil {
		return fmt.Errorf("adding port %d to VLAN %d of the bridge: %w", port.index, vid, err)
	}
	if !slices.Contains(port.vlans, vid) {
		port.vlans = append(port.vlans, vid)
	}
	return nil
}

func (s *switchBridge) leaveOthers(port *patchedPort, vid uint16) error {
	for _, other := range slices.Clone(port.vlans) {
		if other == vid {
			continue
		}
		if err := s.ns.handle.BridgeVlanDel(byIndex(port.index), other, false, false, false, false); err != nil {
			return fmt.Errorf("taking port %d out of VLAN %d of the bridge: %w", port.index, other, err)
		}
		port.vlans = slices.DeleteFunc(port.vlans, func(v uint16) bool { return v == other })
	}
	return nil
}

// awaitReaders waits until every CPU is done with the frames it was handling.
func awaitReaders() error {
	const global = 1 // MEMBARRIER_CMD_GLOBAL: an RCU grace period
	if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, global, 0, 0); errno != 0 {
		return fmt.Errorf("waiting for frames on their way (membarrier, CONFIG_MEMBARRIER): %w", errno)
	}
	return nil
}

// vlan is the bridge's VLAN of a place, of which its trunk is a member.
func (s *switchBridge) vlan(p Place) (uint16, error) {
	if vid, ok := s.vlans[p]; ok {
		return vid, nil
	}
	doing := fmt.Sprintf("making %v a VLAN of the bridge", p)
	trunk, ok := s.trunks[p.Trunk]
	if !ok {
		return 0, fmt.Errorf("%s: there is no such trunk", doing)
	}
	vid, err := s.choose(p)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", doing, err)
	}
	s.used[vid] = true // for good: a failure can leave rules behind
	own := VLAN{Protocol: probe.Dot1Q, VID: vid}
	var rules []rule
	if own != p.VLAN {
		priority := uint16(secondRule) // one for each protocol
		if p.VLAN.Protocol == probe.Dot1Q {
			priority = firstRule
		}
		rules = []rule{
			// Nothing but the translation leads into the VLAN.
			{index: trunk, where: atIngress, priority: lastRule, protocol: probe.Dot1Q, vid: vid, actions: []action{drop()}},
			{index: trunk, where: atEgress, priority: firstRule, protocol: probe.Dot1Q, vid: vid, actions: []action{retag(p.VLAN)}},
			{index: trunk, where: atIngress, priority: priority, protocol: p.VLAN.Protocol, vid: p.VLAN.VID, actions: []action{retag(own)}},
		}
	}
	for _, r := range rules {
		if err := s.ns.addRule(r); err != nil {
			return 0, fmt.Errorf("%s: %w", doing, err)
		}
	}
	if err := s.ns.handle.BridgeVlanAdd(byIndex(trunk), vid, false, false, false, false); err != nil {
		return 0, fmt.Errorf("%s: adding the trunk to VLAN %d: %w", doing, vid, err)
	}
	s.vlans[p] = vid
	return vid, nil
}

// choose finds a VLAN of the bridge for a place: of its own number if nobody has
// that, else the last that is free.
func (s *switchBridge) choose(p Place) (uint16, error) {
	if p.VLAN.Protocol == probe.Dot1Q && !s.used[p.VLAN.VID] {
		return p.VLAN.VID, nil
	}
	for vid := uint16(lastVID); vid > 0; vid-- {
		if !s.used[vid] {
			return vid, nil
		}
	}
	return 0, errors.New("each of its 4094 VLANs is in use")
}
