package control

import (
	"fmt"
	"net"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

// KernelNames asks the kernel for interface names and indexes, one cheap call each, so that a rename
// shows at once.
type KernelNames struct {
	// fd is a socket of the network namespace in which names are looked up.
	fd int
}

var _ Names = (*KernelNames)(nil)

// NewNames returns the names of the calling thread's network namespace. Close releases its descriptor.
func NewNames() (*KernelNames, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a socket to look up interface names: %w", err)
	}
	return &KernelNames{fd: fd}, nil
}

// Close releases the descriptor. It must not be called while lookups run.
func (n *KernelNames) Close() error { return unix.Close(n.fd) }

// Index returns the index of the interface called name. When there is none, the error names those there
// are and satisfies errors.Is(err, demux.ErrUnknownInterface).
func (n *KernelNames) Index(name string) (int, error) {
	request, err := unix.NewIfreq(name)
	if err != nil || name == "" {
		return 0, fmt.Errorf("%w: %q is no interface name (1 to 15 bytes)", demux.ErrUnknownInterface, name)
	}
	switch err := unix.IoctlIfreq(n.fd, unix.SIOCGIFINDEX, request); err {
	case nil:
		return int(request.Uint32()), nil
	case unix.ENODEV:
		return 0, fmt.Errorf("%w: no interface %q here, there are: %s", demux.ErrUnknownInterface, name, listInterfaces())
	default:
		return 0, fmt.Errorf("looking up interface %q: %w", name, err)
	}
}

// Name returns the name of the interface with that index now, or "ifindex N (gone)".
func (n *KernelNames) Name(index int) string {
	request, err := unix.NewIfreq("")
	if err != nil {
		return fmt.Sprintf("ifindex %d", index)
	}
	request.SetUint32(uint32(index))
	switch err := unix.IoctlIfreq(n.fd, unix.SIOCGIFNAME, request); err {
	case nil:
		return request.Name()
	case unix.ENODEV:
		return fmt.Sprintf("ifindex %d (gone)", index)
	default:
		return fmt.Sprintf("ifindex %d", index)
	}
}

// maxListed bounds how many interfaces an error lists.
const maxListed = 30

func listInterfaces() string {
	interfaces, err := net.Interfaces()
	if err != nil {
		return "(listing interfaces: " + err.Error() + ")"
	}
	names := make([]string, 0, len(interfaces))
	for i, iface := range interfaces {
		if i == maxListed {
			names = append(names, fmt.Sprintf("and %d more", len(interfaces)-maxListed))
			break
		}
		names = append(names, iface.Name)
	}
	return strings.Join(names, ", ")
}
