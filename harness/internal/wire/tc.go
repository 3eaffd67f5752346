package wire

import (
	"context"
	"fmt"
	"time"

	"github.com/vlandemux/vlandemux/harness/internal/vlanport"
)

// tcSwitch is the switch of kernels without 8021q. Its programs are attached
// by ifindex and through a netlink socket that Load opens, so every call, Load's
// too, is made from within the switch's namespace.
type tcSwitch struct {
	ns     *namespace
	sw     *vlanport.Switch
	trunks map[int]int // number → ifindex
	at     map[int]int // ifindex of a port → number of its trunk; absent after a move between trunks that failed
}

var _ switcher = (*tcSwitch)(nil)

func newTCSwitch(ns *namespace) (*tcSwitch, error) {
	var sw *vlanport.Switch
	err := ns.do(func() (err error) {
		sw, err = vlanport.Load()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("loading the tc switch: %w", err)
	}
	return &tcSwitch{ns: ns, sw: sw, trunks: map[int]int{}, at: map[int]int{}}, nil
}

func (s *tcSwitch) addTrunk(_ context.Context, number, index int) error {
	if err := s.ns.do(func() error { return s.sw.AddTrunk(index) }); err != nil {
		return fmt.Errorf("adding trunk %d to the tc switch: %w", number, err)
	}
	s.trunks[number] = index
	return nil
}

func (s *tcSwitch) addPort(_ context.Context, index, trunk int, vlan VLAN) error {
	err := s.ns.do(func() error { return s.sw.AddPort(index, vlanport.VLAN(vlan), s.trunks[trunk]) })
	if err != nil {
		return fmt.Errorf("adding a port in %v to the tc switch: %w", place{trunk, vlan}, err)
	}
	s.at[index] = trunk
	return nil
}

func (s *tcSwitch) move(_ context.Context, index int, to place) (w MoveWindow, err error) {
	err = s.ns.do(func() error {
		w.Start = time.Now().UnixNano()
		defer func() { w.End = time.Now().UnixNano() }()
		at, plugged := s.at[index]
		if plugged && at == to.trunk {
			return s.sw.SetVLAN(index, vlanport.VLAN(to.vlan))
		}
		if plugged {
			if err := s.sw.RemovePort(index); err != nil {
				return err
			}
			delete(s.at, index) // until it is added again
		}
		return s.sw.AddPort(index, vlanport.VLAN(to.vlan), s.trunks[to.trunk])
	})
	if err != nil {
		return w, fmt.Errorf("moving a port of the tc switch to %v: %w", to, err)
	}
	s.at[index] = to.trunk
	return w, nil
}

func (s *tcSwitch) close() error {
	if err := s.ns.do(s.sw.Close); err != nil {
		return fmt.Errorf("closing the tc switch: %w", err)
	}
	return nil
}
