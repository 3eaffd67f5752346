package wire

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
)

// switch8021Q is made of VLAN subinterfaces, for kernels with 8021q: per place a bridge holding
// the trunk's VLAN subinterface and the access ports. A bridge stays when its
// last port leaves it: it receives its own VLAN only and sends nothing.
type switch8021Q struct {
	inside
	trunks  map[int]int   // number → ifindex
	bridges map[Place]int // ifindex
}

var _ switcher = (*switch8021Q)(nil)

func kind8021Q() kind {
	return kind{
		name:   "8021q",
		advice: "this kernel has no 8021q or no bridge: load them on the machine that runs Docker (sudo modprobe -a 8021q bridge), or use the tc switch (VLANDEMUX_SWITCH=tc)",
		build: func(in inside) (switcher, error) {
			return &switch8021Q{inside: in, trunks: map[int]int{}, bridges: map[Place]int{}}, nil
		},
	}
}

func (s *switch8021Q) addTrunk(_ context.Context, number, index int) error {
	s.trunks[number] = index
	return nil
}

func (s *switch8021Q) addPorts(ctx context.Context, ports ...access) error {
	for _, p := range ports {
		bridge, err := s.bridge(ctx, p.Place)
		if err != nil {
			return err
		}
		if err := s.ns.enslave(p.index, bridge); err != nil {
			return err
		}
	}
	return nil
}

func (s *switch8021Q) move(ctx context.Context, index int, to Place) (MoveWindow, error) {
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

func (s *switch8021Q) close() error { return nil }

func (s *switch8021Q) bridge(ctx context.Context, p Place) (index int, err error) {
	if index, ok := s.bridges[p]; ok {
		return index, nil
	}
	trunk, ok := s.trunks[p.Trunk]
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
	if index, err = s.ns.makeBridge(bridgePrefix+key(p), s.group, s.macs.next(), netlink.Bridge{}); err != nil {
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

func (s *switch8021Q) makeVLAN(trunk int, p Place) (int, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = vlanPrefix + key(p)
	attrs.ParentIndex = trunk
	reorder := true
	err := s.ns.handle.LinkAdd(&netlink.Vlan{
		LinkAttrs:    attrs,
		VlanId:       int(p.VLAN.VID),
		VlanProtocol: netlink.VlanProtocol(p.VLAN.Protocol),
		ReorderHdr:   &reorder,
	})
	if err != nil {
		return 0, fmt.Errorf("making the VLAN subinterface of %v: %w", p, err)
	}
	return s.ns.index(attrs.Name)
}
