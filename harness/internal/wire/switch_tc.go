package wire

import (
	"context"
	"fmt"
	"time"

	"github.com/vlandemux/vlandemux/harness/internal/vlanport"
)

// switchTC is the switch of kernels without 8021q. Its programs are attached
// by ifindex and through a netlink socket that Load opens, so every call, Load's
// too, is made from within the switch's namespace.
type switchTC struct {
	inside
	sw     *vlanport.Switch
	trunks map[int]int // number → ifindex
}

var _ switcher = (*switchTC)(nil)

func kindTC() kind {
	return kind{
		name: "tc",
		advice: "this kernel lacks BPF programs of type sched_cls (CONFIG_BPF_SYSCALL, CONFIG_NET_CLS_ACT) or clsact: " +
			"load that on the machine that runs Docker (sudo modprobe -a sch_ingress cls_bpf)",
		build: func(in inside) (switcher, error) {
			s := &switchTC{inside: in, trunks: map[int]int{}}
			err := s.ns.do(func() (err error) {
				s.sw, err = vlanport.Load()
				return err
			})
			if err != nil {
				return nil, err // there is nothing to close
			}
			return s, nil
		},
	}
}

func (s *switchTC) addTrunk(_ context.Context, number, index int) error {
	if err := s.ns.do(func() error { return s.sw.AddTrunk(index) }); err != nil {
		return fmt.Errorf("adding trunk %d to the tc switch: %w", number, err)
	}
	s.trunks[number] = index
	return nil
}

func (s *switchTC) addPorts(_ context.Context, ports ...access) error {
	accesses := make([]vlanport.Access, 0, len(ports))
	for _, p := range ports {
		accesses = append(accesses, s.access(p))
	}
	if err := s.ns.do(func() error { return s.sw.AddPorts(accesses...) }); err != nil {
		return fmt.Errorf("adding ports to the tc switch: %w", err)
	}
	return nil
}

func (s *switchTC) access(p access) vlanport.Access {
	return vlanport.Access{Index: p.index, VLAN: p.VLAN, Trunk: s.trunks[p.Trunk]}
}

func (s *switchTC) move(_ context.Context, index int, to Place) (w MoveWindow, err error) {
	err = s.ns.do(func() error {
		w.Start = time.Now().UnixNano()
		defer func() { w.End = time.Now().UnixNano() }()
		return s.sw.MovePort(s.access(access{index, to}))
	})
	if err != nil {
		return w, fmt.Errorf("moving a port of the tc switch to %v: %w", to, err)
	}
	return w, nil
}

func (s *switchTC) close() error {
	if err := s.ns.do(s.sw.Close); err != nil {
		return fmt.Errorf("closing the tc switch: %w", err)
	}
	return nil
}
