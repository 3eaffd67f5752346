package vlanport

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func clsact(ifindex int) netlink.Qdisc {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: ifindex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
}

// attach runs a program at ingress of one interface: as the only filter of a clsact
// qdisc, which every kernel has that has the switch's other needs, and nobody else may have made.
func (s *Switch) attach(ifindex int, program *ebpf.Program, name string) error {
	if err := s.net.QdiscAdd(clsact(ifindex)); err != nil {
		return fmt.Errorf("adding clsact qdisc: %w", err)
	}
	err := s.net.FilterAdd(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: ifindex,
			Parent:    netlink.HANDLE_MIN_INGRESS,
			Priority:  1,
			Protocol:  unix.ETH_P_ALL,
		},
		Fd:           program.FD(),
		Name:         name,
		DirectAction: true,
	})
	if err != nil {
		return errors.Join(fmt.Errorf("adding clsact filter: %w", err), s.detach(ifindex))
	}
	return nil
}

// detach removes the qdisc and the filter with it. An interface that is gone has
// taken both along.
func (s *Switch) detach(ifindex int) error {
	err := s.net.QdiscDel(clsact(ifindex))
	if err != nil && !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("removing clsact qdisc of interface %d: %w", ifindex, err)
	}
	return nil
}
