package demux_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"net"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	. "github.com/onsi/gomega"
	"github.com/vishvananda/netlink"
	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/linux"
	"github.com/vlandemux/vlandemux/bpf/nettest"
	"golang.org/x/sys/unix"
)

// resync lets the demux look at all its interfaces.
func (b *bed) resync() {
	b.t.Helper()
	done, err := b.demux.Resync()
	b.Expect(err).NotTo(HaveOccurred())
	for _, change := range done {
		b.Expect(change.Err).NotTo(HaveOccurred(), "%s %s", change.Name, change.What)
	}
}

// rename gives an interface another name.
func (b *bed) rename(from, to string) {
	b.t.Helper()
	found, err := netlink.LinkByName(from)
	b.Expect(err).NotTo(HaveOccurred())
	b.Expect(nettest.Rename(found, to)).To(Succeed())
}

// swap gives each of two interfaces the other's name.
func (b *bed) swap(one, other string) {
	b.t.Helper()
	b.rename(one, "spare")
	b.rename(other, one)
	b.rename("spare", other)
}

// expectAt sends a frame of client n and demands it at the far end of the worker alone. Frames sent earlier may
// still arrive.
func (b *bed) expectAt(n, worker int) {
	b.t.Helper()
	frame := fromClient(n, tag(5))
	frame.Payload = []byte(rand.Text() + rand.Text())
	arrived := func(port *nettest.Port) (times int) {
		for _, seen := range port.Frames() {
			times += bytes.Count(seen, frame.Payload)
		}
		return times
	}
	b.sw[0].Send(frame)
	b.Eventually(arrived).WithArguments(b.far[worker]).Should(Equal(1))
	for i, port := range b.far {
		if i != worker {
			b.Expect(arrived(port)).To(BeZero(), "worker %d", i)
		}
	}
}

// detachLinks takes the TCX links off an interface as `bpftool link detach` does.
func (b *bed) detachLinks(ifindex int) {
	b.t.Helper()
	attached, err := link.QueryPrograms(link.QueryOptions{Target: ifindex, Attach: ebpf.AttachTCXIngress})
	b.Expect(err).NotTo(HaveOccurred())
	b.Expect(attached.Programs).NotTo(BeEmpty())
	for _, program := range attached.Programs {
		id, ok := program.LinkID()
		b.Expect(ok).To(BeTrue())
		found, err := link.NewFromID(id)
		b.Expect(err).NotTo(HaveOccurred())
		b.Expect(found.(interface{ Detach() error }).Detach()).To(Succeed())
		b.Expect(found.Close()).To(Succeed())
	}
}

func TestLinkDetachedByForceIsAttachedAgain(t *testing.T) {
	linux.TCX.Need(t)
	for name, notice := range map[string]func(b *bed, opts demux.Options){
		"all interfaces are looked at again": func(b *bed, _ demux.Options) { b.resync() },
		"the trunk is attached again": func(b *bed, _ demux.Options) {
			_, err := b.demux.AttachTrunk(trunkNames[0], false)
			b.Expect(err).NotTo(HaveOccurred())
		},
		"a restart": func(b *bed, opts demux.Options) {
			b.Expect(b.demux.Close()).To(Succeed())
			b.demux = b.load(opts)
		},
	} {
		t.Run(name, func(t *testing.T) {
			nettest.Enter(t)
			opts := demux.Options{Attach: demux.AttachTCX, PinPath: nettest.BPFFS(t)}
			b := startHere(t, opts)
			b.assign(mac(1), 0)
			b.learn(0, 1, tag(5))
			b.detachLinks(b.trunks[0])
			notice(b, opts)
			b.expectAt(1, 0)
			// The new link is pinned: it outlives a process that does not close it.
			b.demux = b.load(opts)
			b.expectAt(1, 0)
			b.Expect(b.demux.Detach()).To(Succeed())
		})
	}
}

// A hook that is taken off while no process runs costs nothing that was learned: the
// trunk is the one it was.
func TestHooksTakenOffWhileStopped(t *testing.T) {
	eachMode(t, func(t *testing.T, mode demux.AttachMode) {
		nettest.Enter(t)
		opts := demux.Options{Attach: mode, PinPath: nettest.BPFFS(t)}
		b := startHere(t, opts)
		b.assign(mac(1), 0)
		b.learn(0, 1, tag(5))
		b.Expect(b.demux.Close()).To(Succeed())
		for _, ifindex := range []int{b.trunks[0], b.indexes[0]} {
			if mode == demux.AttachTCX {
				b.detachLinks(ifindex)
			} else {
				b.Expect(netlink.QdiscDel(clsact(ifindex))).To(Succeed())
			}
		}
		b.demux = b.load(opts)
		b.Expect(b.demux.Resync()).To(ConsistOf(
			demux.Change{Name: trunkNames[0], What: "attached again: somebody had taken its program off"},
			demux.Change{Name: "w0", What: "attached again: somebody had taken its program off"},
		))
		b.far[0].Send(toClient(1))
		b.Eventually(b.sw[0].Count).Should(Equal(1), "its location is known")
		b.expectAt(1, 0)
		b.Expect(b.demux.Detach()).To(Succeed())
	})
}

// Two workers swap names: each keeps its clients, whenever that is noticed.
func TestSwappedNames(t *testing.T) {
	for name, notice := range map[string]func(b *bed, opts demux.Options){
		"all interfaces are looked at again": func(b *bed, _ demux.Options) { b.resync() },
		"one is told before the other": func(b *bed, _ demux.Options) {
			_, err := b.demux.Reconcile([]demux.Link{b.linkAt(b.indexes[0])}, nil)
			b.Expect(err).NotTo(HaveOccurred())
		},
		"a restart": func(b *bed, opts demux.Options) {
			b.Expect(b.demux.Close()).To(Succeed())
			b.demux = b.load(opts)
		},
	} {
		eachMode(t, func(t *testing.T, mode demux.AttachMode) {
			t.Log(name)
			nettest.Enter(t)
			opts := demux.Options{Attach: mode, PinPath: nettest.BPFFS(t)}
			b := startHere(t, opts)
			b.assign(mac(1), 0)
			b.assign(mac(2), 1)
			b.swap("w0", "w1")
			notice(b, opts)
			b.expectAt(1, 0)
			b.expectAt(2, 1)
			b.Expect(b.demux.Workers()).To(Equal([]demux.Attachment{
				{Name: "w0", Index: b.indexes[1], Mode: mode, MTU: 9000},
				{Name: "w1", Index: b.indexes[0], Mode: mode, MTU: 9000},
			}))
			assignments, err := b.demux.Assignments()
			b.Expect(err).NotTo(HaveOccurred())
			for _, a := range assignments {
				b.Expect(a.Worker).To(Equal(map[demux.MAC]string{mac(1): "w1", mac(2): "w0"}[a.MAC]))
			}
			b.Expect(b.demux.Detach()).To(Succeed())
		})
	}
}

// What is told of an interface may be older than what is known of its name.
func TestLateMessagesDoNotMoveAWorker(t *testing.T) {
	b := start(t, demux.Options{})
	found, err := netlink.LinkByName("w2")
	b.Expect(err).NotTo(HaveOccurred())
	late := demux.NewLink(found)
	b.rename("w2", "stranger")
	index, _ := nettest.Veth(t, "w2", "q2")
	far := nettest.Open(t, "q2")
	b.assign(mac(1), 2)
	_, err = b.demux.Reconcile([]demux.Link{late}, nil)
	b.Expect(err).NotTo(HaveOccurred())
	b.Expect(b.demux.Workers()[0].Index).To(Equal(index))
	b.sw[0].Send(fromClient(1, tag(5)))
	b.Eventually(far.Count).Should(Equal(1))
	b.Expect(b.far[2].Count()).To(BeZero())
}

// The kernel says "down" before it says "deleted": whoever is told the first when the
// interface is not there any more has nothing to put right.
func TestAnInterfaceThatIsBeingDeletedIsGone(t *testing.T) {
	eachMode(t, func(t *testing.T, mode demux.AttachMode) {
		b := start(t, demux.Options{Attach: mode})
		b.assign(mac(1), 0)
		found, err := netlink.LinkByName("w0")
		b.Expect(err).NotTo(HaveOccurred())
		down := demux.NewLink(found)
		down.Up = false
		nettest.Delete(t, "w0")
		b.Expect(b.demux.Reconcile([]demux.Link{down}, nil)).To(Equal([]demux.Change{{Name: "w0", What: "gone"}}))
		b.Expect(b.demux.Reconcile(nil, []int{down.Index})).To(BeEmpty())
	})
}

// An interface that gets the index of a worker that has gone gets no frame, whether or not the kernel's message of that
// was lost, and the worker's clients are served again when one of its name comes.
func TestTheIndexOfAWorkerThatHasGoneIsAStrangers(t *testing.T) {
	for name, told := range map[string]func(b *bed, index int) ([]demux.Change, error){
		"told":             func(b *bed, index int) ([]demux.Change, error) { return b.demux.Reconcile(nil, []int{index}) },
		"message was lost": func(b *bed, _ int) ([]demux.Change, error) { return b.demux.Resync() },
		"told of the other": func(b *bed, index int) ([]demux.Change, error) {
			return b.demux.Reconcile([]demux.Link{b.linkAt(index)}, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachMode(t, func(t *testing.T, mode demux.AttachMode) {
				b := start(t, demux.Options{Attach: mode})
				b.assign(mac(1), 0)
				b.learn(0, 1, tag(5))
				index := b.indexes[0]
				nettest.Delete(t, "w0")
				stranger := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "stranger", Index: index, Flags: 1}, PeerName: "s0"}
				b.Expect(netlink.LinkAdd(stranger)).To(Succeed())
				b.Expect(netlink.QdiscAdd(clsact(index))).To(Succeed())
				b.Expect(told(b, index)).To(Equal([]demux.Change{{Name: "w0", What: "gone"}}))
				b.resync()
				b.Expect(netlink.QdiscDel(clsact(index))).To(Succeed(), "the stranger's qdisc is still there")
				b.sw[0].Send(fromClient(1, tag(5)))
				b.Eventually(b.drops).Should(HaveKeyWithValue("no_worker", HaveField("Packets", BeEquivalentTo(1))))
				b.Expect(b.demux.Workers()).To(Equal([]demux.Attachment{{Name: "w0"}}))
				nettest.Veth(t, "w0", "p0")
				far := nettest.Open(t, "p0")
				b.resync()
				b.sw[0].Send(fromClient(1, tag(5)))
				b.Eventually(far.Count).Should(Equal(1))
			})
		})
	}
}

func clsact(ifindex int) netlink.Qdisc {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: ifindex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
}

// linkAt is the interface that has the index now.
func (b *bed) linkAt(index int) demux.Link {
	b.t.Helper()
	found, err := netlink.LinkByIndex(index)
	b.Expect(err).NotTo(HaveOccurred())
	return demux.NewLink(found)
}

func TestUnfitInterfacesAreRefused(t *testing.T) {
	b := start(t, demux.Options{})
	found, err := netlink.LinkByName("w0")
	b.Expect(err).NotTo(HaveOccurred())
	address, err := netlink.ParseAddr("192.0.2.1/24")
	b.Expect(err).NotTo(HaveOccurred())
	b.Expect(netlink.AddrAdd(found, address)).To(Succeed())
	err = b.demux.Assign(mac(1), "w0")
	b.Expect(err).To(MatchError(demux.ErrUnfit))
	b.Expect(err).To(MatchError(ContainSubstring("attaching w0: ")))
	b.Expect(b.demux.Assign(mac(1), "lo")).To(MatchError(demux.ErrWrongRole))
	b.Expect(b.demux.Assign(mac(1), trunkNames[0])).To(MatchError(demux.ErrWrongRole))
	b.Expect(b.demux.Workers()).To(BeEmpty())
	b.Expect(b.demux.Assignments()).To(BeEmpty())
	forced := []demux.Assignment{{MAC: mac(1), Worker: "w0", Force: true, Places: []demux.Place{{Trunk: "elsewhere", VID: 5}}}}
	b.Expect(b.demux.AssignAll(forced)).To(MatchError(demux.ErrUnknownInterface))
	b.Expect(b.demux.Workers()).To(BeEmpty(), "what is refused takes nothing")
	forced[0].Places[0].Trunk = trunkNames[0]
	b.Expect(b.demux.AssignAll(forced)).To(Succeed())
	b.learn(0, 1, tag(5))
}

// The kernel says of a list that it changed while it was read.
func TestAttachesWhileAddressesComeAndGo(t *testing.T) {
	b := start(t, demux.Options{})
	nettest.Veth(t, "d0", "e0")
	other, err := netlink.LinkByName("d0")
	b.Expect(err).NotTo(HaveOccurred())
	for i := range 1000 { // the list takes several messages
		one := &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, byte(i>>8), byte(i), 1), Mask: net.CIDRMask(32, 32)}}
		b.Expect(netlink.AddrAdd(other, one)).To(Succeed())
	}
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	b.Expect(err).NotTo(HaveOccurred())
	defer handle.Close()
	address := &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(192, 0, 2, 1), Mask: net.CIDRMask(24, 32)}}
	end, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-end:
				ended <- nil
				return
			default:
			}
			if err := errors.Join(handle.AddrAdd(other, address), handle.AddrDel(other, address)); err != nil {
				ended <- err
				return
			}
		}
	}()
	for range 10 {
		b.assign(mac(1), 0)
		b.Expect(b.demux.Unassign(mac(1))).To(Succeed())
	}
	close(end)
	b.Expect(<-ended).To(Succeed())
}
