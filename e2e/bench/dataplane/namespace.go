package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// namespace is a network namespace that exists as long as it is held open.
type namespace struct {
	file *os.File
	net  *netlink.Handle
}

func newNamespace() (_ *namespace, err error) {
	ns := &namespace{}
	defer func() {
		if err != nil {
			err = errors.Join(err, ns.Close())
		}
	}()
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("making a network namespace (needs CAP_SYS_ADMIN): %w", err)
		}
		ns.file, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		return nil, err
	}
	if ns.net, err = netlink.NewHandleAt(netns.NsHandle(ns.file.Fd()), unix.NETLINK_ROUTE); err != nil {
		return nil, fmt.Errorf("opening netlink socket: %w", err)
	}
	return ns, nil
}

// onThread runs f on a thread that ends with it, since f changes the thread's
// namespace.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		done <- f()
	}()
	return <-done
}

// do runs f in the namespace: sockets opened and processes started in f belong
// to it. f must not rely on it in goroutines of its own.
func (ns *namespace) do(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(ns.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering a network namespace: %w", err)
		}
		return f()
	})
}

func (ns *namespace) Close() error {
	if ns.net != nil {
		ns.net.Close()
	}
	if ns.file == nil {
		return nil
	}
	return ns.file.Close()
}

// index returns the index of an interface of the namespace.
func (ns *namespace) index(name string) (int, error) {
	link, err := ns.net.LinkByName(name)
	if err != nil {
		return 0, fmt.Errorf("looking up %s: %w", name, err)
	}
	return link.Attrs().Index, nil
}

// received returns the frames that have come in on an interface.
func (ns *namespace) received(name string) (uint64, error) {
	link, err := ns.net.LinkByName(name)
	if err != nil {
		return 0, fmt.Errorf("reading the counters of %s: %w", name, err)
	}
	return link.Attrs().Statistics.RxPackets, nil
}

const addrGenModeNone = 1 // IN6_ADDR_GEN_MODE_NONE

// up sets an interface up that sends nothing on its own.
func (ns *namespace) up(name string) error {
	link, err := ns.net.LinkByName(name)
	if err == nil {
		_ = ns.net.LinkSetIP6AddrGenMode(link, addrGenModeNone) // fails where there is no IPv6, which is as silent
		err = ns.net.LinkSetUp(link)
	}
	if err != nil {
		return fmt.Errorf("setting %s up: %w", name, err)
	}
	return nil
}

// veth connects two namespaces, and returns once both ends send frames.
func veth(a *namespace, name string, b *namespace, peer string) error {
	link := &netlink.Veth{
		// A queue for each processor, as a NIC has.
		LinkAttrs: netlink.LinkAttrs{Name: name, NumTxQueues: runtime.NumCPU(), NumRxQueues: runtime.NumCPU()},
		PeerName:  peer, PeerNamespace: netlink.NsFd(b.file.Fd()),
	}
	if err := a.net.LinkAdd(link); err != nil {
		return fmt.Errorf("making veth %s: %w", name, err)
	}
	if err := errors.Join(a.up(name), b.up(peer)); err != nil {
		return err
	}
	return errors.Join(a.await(name), b.await(peer))
}
