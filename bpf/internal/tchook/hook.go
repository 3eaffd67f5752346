// Package tchook runs BPF programs at tc ingress, through a TCX link or a clsact
// filter, and in an interface's driver, through an XDP link. Interfaces are those of the network namespace of the calling thread.
package tchook

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrGone means that an interface or a link is not there any more.
var ErrGone = errors.New("interface or attachment is gone")

// Hook is one way to run a program on what comes in at one interface.
type Hook interface {
	// Replace puts the program in the place of the present one, atomically.
	Replace(program *ebpf.Program) error
	// There reports whether the program is where it was put.
	There() (bool, error)
	// Restore runs the program again where somebody else has taken it off, and
	// reports whether it had to.
	Restore(program *ebpf.Program) (bool, error)
	// Detach takes the program off and removes pins. An interface that is
	// gone is not an error.
	Detach() error
	// Close releases descriptors.
	Close() error
}

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
