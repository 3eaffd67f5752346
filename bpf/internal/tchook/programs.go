package tchook

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Programs returns the BPF programs at tc ingress of an interface, attached in
// either way by anyone.
func Programs(net *netlink.Handle, ifindex int) ([]ebpf.ProgramID, error) {
	var found []ebpf.ProgramID
	attached, err := link.QueryPrograms(link.QueryOptions{Target: ifindex, Attach: ebpf.AttachTCXIngress})
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.EINVAL), errors.Is(err, ebpf.ErrNotSupported):
	case err != nil:
		return nil, fmt.Errorf("listing tcx programs of interface %d: %w", ifindex, err)
	default:
		for _, program := range attached.Programs {
			found = append(found, program.ID)
		}
	}
	handle := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: ifindex}, LinkType: "any"}
	filters, err := net.FilterList(handle, netlink.HANDLE_MIN_INGRESS)
	if err != nil && !noInterface(err) {
		return nil, fmt.Errorf("listing filters of interface %d: %w", ifindex, err)
	}
	for _, filter := range filters {
		if bpf, ok := filter.(*netlink.BpfFilter); ok {
			found = append(found, ebpf.ProgramID(bpf.Id))
		}
	}
	return found, nil
}
