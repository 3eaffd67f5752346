// Package nettest gives tests of tc programs a network namespace of their own,
// veth pairs in it, and sockets that send and capture whole frames, tags
// included. Root is needed.
package nettest

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vlandemux/vlandemux/bpf/ethtool"
	"golang.org/x/sys/unix"
)

// Enter moves the test into new network and mount namespaces. They belong to
// the thread, so the goroutine stays locked to it, and the Go runtime ends the
// thread with the test: that removes both, whatever the test left in them.
// Subtests run on goroutines of their own and have to call Enter as well.
func Enter(t testing.TB) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
		t.Fatalf("making namespaces (root is needed): %v", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatalf("making mounts private: %v", err)
	}
}

// BPFFS mounts a BPF file system and returns its path.
func BPFFS(t testing.TB) string {
	t.Helper()
	path := t.TempDir()
	if err := unix.Mount("bpf", path, "bpf", 0, ""); err != nil {
		t.Fatalf("mounting BPF file system: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
	return path
}

const addrGenModeNone = 1 // IN6_ADDR_GEN_MODE_NONE

// Veth makes a pair of interfaces which send nothing on their own, and returns
// their indexes.
func Veth(t testing.TB, name, peer string) (int, int) {
	t.Helper()
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: 9000}, PeerName: peer}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatalf("making veth %s: %v", name, err)
	}
	indexes := [2]int{up(t, name), up(t, peer)}
	for _, end := range []string{name, peer} {
		if err := AwaitOperational(end); err != nil {
			t.Fatal(err)
		}
	}
	return indexes[0], indexes[1]
}

// AwaitOperational returns once the interface sends frames: the kernel gives one whose peer came up later its queue in the background, and drops
// what is sent until then.
func AwaitOperational(name string) error {
	for end := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		link, err := netlink.LinkByName(name)
		switch {
		case err != nil:
			return fmt.Errorf("looking up %s: %w", name, err)
		case link.Attrs().OperState == netlink.OperUp:
			return nil
		case time.Now().After(end):
			return fmt.Errorf("waiting for %s to become operational: it is %s", name, link.Attrs().OperState)
		}
	}
}

func up(t testing.TB, name string) int {
	t.Helper()
	link, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatalf("looking up %s: %v", name, err)
	}
	// Without a link-local address there is neither DAD nor router solicitation.
	if err := netlink.LinkSetIP6AddrGenMode(link, addrGenModeNone); err != nil {
		t.Fatalf("silencing IPv6 on %s: %v", name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		t.Fatalf("setting %s up: %v", name, err)
	}
	return link.Attrs().Index
}

// Delete removes an interface and with it its peer.
func Delete(t testing.TB, name string) {
	t.Helper()
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil {
		t.Fatalf("deleting %s: %v", name, err)
	}
}

// SegmentInSoftware turns off checksum offload on the interface, and with it
// every kind of segmentation offload: what leaves through it are wire frames.
func SegmentInSoftware(t testing.TB, name string) {
	t.Helper()
	withSocket(t, name, func(socket int) error { return ethtool.Set(socket, name, unix.ETHTOOL_STXCSUM, 0) })
}

// TagInSoftware makes the kernel put the outermost tag into what leaves through the interface.
func TagInSoftware(t testing.TB, name string) {
	t.Helper()
	withSocket(t, name, func(socket int) error {
		flags, err := ethtool.Flags(socket, name)
		if err == nil {
			err = ethtool.SetFlags(socket, name, flags&^ethtool.FlagTxVLAN)
		}
		return err
	})
}

func withSocket(t testing.TB, name string, do func(socket int) error) {
	t.Helper()
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("opening ethtool socket: %v", err)
	}
	defer unix.Close(socket)
	if err := do(socket); err != nil {
		t.Fatalf("turning offloads of %s off: %v", name, err)
	}
}
