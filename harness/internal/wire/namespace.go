package wire

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/harness/internal/threads"
)

// namespace is a network namespace held open, with netlink sockets in it. The
// descriptor, not a path or a process ID, names it: those are reused.
type namespace struct {
	node    string
	file    *os.File
	handle  *netlink.Handle
	sockets map[int]*nl.SocketHandle // for requests that handle has no method for
}

func hostNamespace() (*namespace, error) {
	f, err := os.Open("/proc/self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("opening the host's network namespace: %w", err)
	}
	return newNamespace(HostNode, f)
}

func processNamespace(node string, pid int) (*namespace, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("opening the network namespace of %s: there is no process %d here: has its container ended, or is this not the host's PID namespace? (%w)", node, pid, err)
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("opening the network namespace of %s, process %d: it may hold capabilities that this process lacks; "+
			"the host container needs CAP_NET_ADMIN, CAP_SYS_ADMIN and CAP_NET_RAW (%w)", node, pid, err)
	case err != nil:
		return nil, fmt.Errorf("opening the network namespace of %s, process %d: %w", node, pid, err)
	}
	return newNamespace(node, f)
}

// scratchNamespace makes a namespace that exists as long as it is held open.
func scratchNamespace(node string) (*namespace, error) {
	var f *os.File
	err := threads.OnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("making a network namespace for %s (needs CAP_SYS_ADMIN): %w", node, err)
		}
		var err error
		if f, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return fmt.Errorf("opening the network namespace made for %s: %w", node, err)
		}
		return nil
	})
	if err != nil {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
		return nil, err
	}
	return newNamespace(node, f)
}

// SwitchSpace is the network namespace of the switches of labs that follow one another in a host. It is made when
// the first one needs it, and anew after one that has left an interface in it. nil makes each switch one of its own.
type SwitchSpace struct {
	file  *os.File
	links []string // those that are always there
}

func (s *SwitchSpace) open() (*namespace, error) {
	if s == nil {
		return scratchNamespace(SwitchNode)
	}
	if s.file != nil {
		if ns, err := s.again(); ns != nil || err != nil {
			return ns, err
		}
	}
	ns, err := scratchNamespace(SwitchNode)
	if err != nil {
		return nil, err
	}
	s.links, err = ns.linkNames()
	if err == nil {
		s.file, err = duplicate(ns.file)
	}
	if err != nil {
		return nil, errors.Join(err, ns.close())
	}
	return ns, nil
}

// again opens the namespace that is there, if it is as it was when new; else it lets it go and returns nil.
func (s *SwitchSpace) again() (*namespace, error) {
	file, err := duplicate(s.file)
	if err != nil {
		return nil, err
	}
	ns, err := newNamespace(SwitchNode, file)
	if err != nil {
		return nil, err
	}
	links, err := ns.linkNames()
	if err == nil && slices.Equal(links, s.links) {
		return ns, nil
	}
	return nil, errors.Join(err, ns.close(), s.Close())
}

// Name is that of the namespace, as descriptors tell it, "" while there is none.
func (s *SwitchSpace) Name() (string, error) {
	if s.file == nil {
		return "", nil
	}
	return os.Readlink(fmt.Sprintf("/proc/self/fd/%d", s.file.Fd()))
}

// Close lets the namespace go.
func (s *SwitchSpace) Close() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}

func duplicate(file *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("holding a network namespace by one more descriptor: %w", err)
	}
	return os.NewFile(uintptr(fd), file.Name()), nil
}

func (ns *namespace) linkNames() (names []string, err error) {
	links, err := retryDump(ns.handle.LinkList)
	if err != nil {
		return nil, fmt.Errorf("listing the links of %s: %w", ns.node, err)
	}
	for _, link := range links {
		names = append(names, link.Attrs().Name)
	}
	return names, nil
}

func newNamespace(node string, f *os.File) (_ *namespace, err error) {
	ns := &namespace{node: node, file: f, sockets: map[int]*nl.SocketHandle{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, ns.close())
		}
	}()
	fd := netns.NsHandle(f.Fd())
	if ns.handle, err = netlink.NewHandleAt(fd, unix.NETLINK_ROUTE); err != nil {
		return nil, fmt.Errorf("opening a netlink socket in the namespace of %s: %w", node, err)
	}
	for _, family := range []int{unix.NETLINK_ROUTE, unix.NETLINK_GENERIC} {
		s, err := nl.GetNetlinkSocketAt(fd, netns.None(), family)
		if err != nil {
			return nil, fmt.Errorf("opening a netlink socket in the namespace of %s: %w", node, err)
		}
		ns.sockets[family] = &nl.SocketHandle{Socket: s}
		if err := s.SetExtAck(true); err != nil {
			return nil, fmt.Errorf("asking netlink for its reasons in the namespace of %s: %w", node, err)
		}
	}
	return ns, nil
}

// fd is the descriptor for netlink attributes.
func (ns *namespace) fd() int { return int(ns.file.Fd()) }

func (ns *namespace) same(other *namespace) (bool, error) {
	a, err := ns.file.Stat()
	if err != nil {
		return false, fmt.Errorf("comparing network namespaces: %w", err)
	}
	b, err := other.file.Stat()
	if err != nil {
		return false, fmt.Errorf("comparing network namespaces: %w", err)
	}
	return os.SameFile(a, b), nil
}

// do runs f on a thread that is in the namespace; see [threads.Do].
func (ns *namespace) do(f func() error) error {
	if err := threads.Do(ns.fd(), f); err != nil {
		return fmt.Errorf("in the network namespace of %s: %w", ns.node, err)
	}
	return nil
}

func (ns *namespace) close() error {
	if ns.handle != nil {
		ns.handle.Close()
	}
	for _, s := range ns.sockets {
		s.Close()
	}
	if err := ns.file.Close(); err != nil {
		return fmt.Errorf("closing the network namespace of %s: %w", ns.node, err)
	}
	return nil
}

// execute sends one request of a netlink family. A dump that was interrupted
// is asked for again; context-free because rtnetlink answers at once.
func (ns *namespace) execute(family int, build func() *nl.NetlinkRequest) ([][]byte, error) {
	return retryDump(func() ([][]byte, error) {
		req := build()
		req.Sockets = ns.sockets
		return req.Execute(family, 0)
	})
}

// retryDump repeats a dump that the kernel says changed while it was read.
func retryDump[T any](dump func() (T, error)) (T, error) {
	const most = 10
	for try := 1; ; try++ {
		res, err := dump()
		if try == most || !errors.Is(err, netlink.ErrDumpInterrupted) && !errors.Is(err, syscall.EINTR) {
			return res, err
		}
	}
}
