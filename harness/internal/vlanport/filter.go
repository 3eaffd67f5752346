package vlanport

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// filter runs a program at ingress of one interface: the only filter of a
// clsact qdisc, which every kernel has that has the switch's other needs.
type filter struct {
	net   *netlink.Handle
	qdisc netlink.Qdisc
}

// attach makes the qdisc, which nobody else may have made, and its filter.
func attach(net *netlink.Handle, ifindex int, program *ebpf.Program, name string) (*filter, error) {
	f := &filter{net: net, qdisc: &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: ifindex,
		Handle:    netlink.MakeHandle(0xffff, 0),
		Parent:    netlink.HANDLE_CLSACT,
	}}}
	if err := net.QdiscAdd(f.qdisc); err != nil {
		return nil, fmt.Errorf("adding clsact qdisc: %w", err)
	}
	err := net.FilterAdd(&netlink.BpfFilter{
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
		return nil, errors.Join(fmt.Errorf("adding clsact filter: %w", err), f.detach())
	}
	return f, nil
}

// detach removes the qdisc and the filter with it. An interface that is gone has
// taken both along.
func (f *filter) detach() error {
	err := f.net.QdiscDel(f.qdisc)
	if err != nil && !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("removing clsact qdisc of interface %d: %w", f.qdisc.Attrs().LinkIndex, err)
	}
	return nil
}
