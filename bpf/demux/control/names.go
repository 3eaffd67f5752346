package control

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/ethtool"
)

// KernelNames asks the kernel for interface names, one cheap call each, so that a rename
// shows at once.
type KernelNames struct {
	// fd and net are sockets of the network namespace in which names are looked up.
	fd  int
	net *netlink.Handle

	mu    sync.Mutex
	known map[int]string // guarded by mu; what the kernel said last, for interfaces that have gone since
}

// maxKnown bounds how many names of interfaces are kept.
const maxKnown = 4096

var _ Names = (*KernelNames)(nil)

// NewNames returns the names of the calling thread's network namespace. Close releases its descriptors.
func NewNames() (*KernelNames, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a socket to look up interface names: %w", err)
	}
	net, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening a netlink socket to look at interfaces: %w", err), unix.Close(fd))
	}
	return &KernelNames{fd: fd, net: net, known: make(map[int]string)}, nil
}

// Close releases the descriptors. It must not be called while lookups run.
func (n *KernelNames) Close() error {
	n.net.Close()
	return unix.Close(n.fd)
}

// Name returns the name of the interface with that index now. Of one that has gone it is the last that was asked for, as
// "eth1 (gone)", or else "ifindex N (gone)".
func (n *KernelNames) Name(index int) string {
	request, err := unix.NewIfreq("")
	if err != nil {
		return fmt.Sprintf("ifindex %d", index)
	}
	request.SetUint32(uint32(index))
	err = unix.IoctlIfreq(n.fd, unix.SIOCGIFNAME, request)
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case err == nil:
		if len(n.known) >= maxKnown {
			clear(n.known)
		}
		n.known[index] = request.Name()
		return request.Name()
	case !errors.Is(err, unix.ENODEV):
		return fmt.Sprintf("ifindex %d", index)
	case n.known[index] != "":
		return n.known[index] + " (gone)"
	}
	return fmt.Sprintf("ifindex %d (gone)", index)
}

// Facts returns what the kernel says of an interface.
func (n *KernelNames) Facts(name string) Facts {
	var facts Facts
	request, err := unix.NewIfreq(name)
	if err != nil {
		return facts
	}
	if err := unix.IoctlIfreq(n.fd, unix.SIOCGIFFLAGS, request); err == nil {
		facts.Promiscuous = request.Uint16()&unix.IFF_PROMISC != 0
	}
	if driver, err := unix.IoctlGetEthtoolDrvinfo(n.fd, name); err == nil {
		facts.Hardware = unix.ByteSliceToString(driver.Bus_info[:]) != ""
	}
	if flags, err := ethtool.Flags(n.fd, name); err == nil {
		facts.LRO = flags&ethtool.FlagLRO != 0
	}
	if link, err := n.net.LinkByName(name); err == nil {
		facts.XDP = link.Attrs().Xdp != nil && link.Attrs().Xdp.Attached
	}
	return facts
}

// facts are those of an interface without what is ours.
func (s *Server) facts(name string) Facts {
	facts := s.options.Names.Facts(name)
	facts.XDP = facts.XDP && !slices.ContainsFunc(s.options.Dataplane.Trunks(), func(a demux.Attachment) bool { return a.Name == name && a.EarlyDrop })
	return facts
}

// obstacles say what has the frames of an interface before the demux.
func obstacles(name string, facts Facts) (list []string) {
	if facts.XDP {
		list = append(list, fmt.Sprintf("%s has an XDP program, which gets each frame before the demux: what it drops or redirects is counted nowhere here; ip link set %s xdp off", name, name))
	}
	if facts.LRO {
		list = append(list, fmt.Sprintf("%s has large receive offload on: the frames it joins do not fit through the other end, and are counted as one; ethtool -K %s lro off", name, name))
	}
	return list
}

// WarnOfObstacles logs what has the frames of an interface, to which the demux was attached, before it does.
func (s *Server) WarnOfObstacles(name string) {
	problems := obstacles(name, s.facts(name))
	for _, problem := range problems {
		s.warned.Store(name, true)
		s.log.Warn("not all frames may reach the demux", "interface", name, "problem", problem)
	}
}

// warnOfWorkers does so for the workers of assignments that were made, once for each.
func (s *Server) warnOfWorkers(made []demux.Assignment) {
	seen := make(map[string]bool)
	for _, a := range made {
		if _, before := s.warned.Load(a.Worker); !before && !seen[a.Worker] {
			s.WarnOfObstacles(a.Worker)
		}
		seen[a.Worker] = true
	}
}

// warnOfAll does so for all that is attached, and learns the trunks' names: one may be gone when it is asked for.
func (s *Server) warnOfAll() {
	for _, trunk := range s.options.Dataplane.Trunks() {
		s.options.Names.Name(trunk.Index)
		s.WarnOfObstacles(trunk.Name)
	}
	for _, worker := range s.options.Dataplane.Workers() {
		s.WarnOfObstacles(worker.Name)
	}
}
