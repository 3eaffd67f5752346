package demux_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	. "github.com/onsi/gomega"
	"github.com/vishvananda/netlink"
	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/linux"
	"github.com/vlandemux/vlandemux/bpf/nettest"
	"golang.org/x/sys/unix"
)

func TestRestartKeepsState(t *testing.T) {
	eachMode(t, func(t *testing.T, mode demux.AttachMode) {
		nettest.Enter(t)
		path := filepath.Join(nettest.BPFFS(t), "demux")
		b := startHere(t, demux.Options{Attach: mode, PinPath: path, Capacity: 4})
		b.assign(mac(1), 0)
		b.assign(mac(2), 1)
		b.learn(0, 1, tag(5))
		b.far[0].Send(toClient(99))
		b.Eventually(b.drops).Should(HaveLen(1))
		assignments, err := b.demux.Assignments()
		b.Expect(err).NotTo(HaveOccurred())
		counters := b.counters()
		trunks, workers := b.demux.Trunks(), b.demux.Workers()
		b.Expect(b.demux.Close()).To(Succeed())

		b.sw[0].Send(fromClient(1, tag(5))) // nobody is there, and it goes on
		b.Eventually(b.far[0].Count).Should(Equal(2))
		counters.Clients[0].Rx.Packets++
		counters.Clients[0].Rx.Bytes += tally(fromClient(1, tag(5)).Bytes()).Bytes

		b.demux = b.load(demux.Options{Attach: mode, PinPath: path, Capacity: 4})
		b.Expect(b.demux.Assignments()).To(Equal(assignments))
		b.Expect(b.counters()).To(Equal(counters))
		b.Expect(b.demux.Trunks()).To(Equal(trunks))
		b.Expect(b.demux.Workers()).To(Equal(workers))
		b.Expect(b.events(1)).To(HaveLen(1), "the event waited for a reader")
		b.Expect(b.demux.AttachTrunk(trunkNames[0], false)).To(Equal(mode))

		b.Expect(b.demux.Assign(mac(1), b.workers[1])).To(MatchError(demux.ErrAssigned))
		b.assign(mac(3), 0)
		b.learn(1, 3, tag(6))
		group := nettest.Frame{Destination: broadcast, Source: gateway, Payload: make([]byte, 64)}
		b.far[0].Send(group)
		b.Eventually(b.sw[0].Count).Should(Equal(1))
		b.Eventually(b.sw[1].Count).Should(Equal(1))
	})
}

// The second Demux takes over from one that is still there.
func TestTakeOver(t *testing.T) {
	nettest.Enter(t)
	path := nettest.BPFFS(t)
	b := startHere(t, demux.Options{PinPath: path})
	b.assign(mac(1), 0)
	first := b.demux
	b.demux = b.load(demux.Options{PinPath: path, Untagged: demux.UntaggedPass})
	b.Expect(first.Assign(mac(2), b.workers[0])).To(MatchError(demux.ErrTakenOver))
	b.Expect(first.Detach()).To(MatchError(demux.ErrTakenOver))
	b.learn(0, 1, tag(5))
	b.assign(mac(2), 1)
	b.sw[0].Send(fromClient(1)) // by the new program's policy
	b.Eventually(func() uint64 { return b.counters().Passed.Packets }).Should(BeEquivalentTo(1))
}

// Programs are replaced while frames come in: every one is counted and
// delivered.
func TestRestartLosesNothing(t *testing.T) {
	eachMode(t, func(t *testing.T, mode demux.AttachMode) {
		nettest.Enter(t)
		path := nettest.BPFFS(t)
		b := startHere(t, demux.Options{Attach: mode, PinPath: path})
		b.assign(mac(1), 0)
		sent := b.exchange(b.far[0], b.sw[0], func() {
			for range 5 {
				b.Expect(b.demux.Close()).To(Succeed())
				b.demux = b.load(demux.Options{Attach: mode, PinPath: path})
			}
		})
		b.Eventually(b.far[0].Count).Should(Equal(sent + 1))
		b.Eventually(b.sw[0].Count).Should(Equal(sent))
	})
}

// The kernel stops an interface's transmit queue while a clsact qdisc comes or
// goes. What is lost there was counted: the demux itself has no gap.
func TestChangeOfModeHasNoGap(t *testing.T) {
	linux.TCX.Need(t)
	nettest.Enter(t)
	path := nettest.BPFFS(t)
	b := startHere(t, demux.Options{Attach: demux.AttachTCX, PinPath: path})
	b.assign(mac(1), 0)
	before := [2]*nettest.Port{nettest.Open(t, "trunk0"), nettest.Open(t, "w0")}
	for _, port := range before {
		port.CountOnly()
	}
	b.exchange(before[0], before[1], func() {
		for _, mode := range []demux.AttachMode{demux.AttachClsact, demux.AttachTCX, demux.AttachClsact} {
			b.Expect(b.demux.Close()).To(Succeed())
			b.demux = b.load(demux.Options{Attach: mode, PinPath: path})
			b.Expect(b.demux.Trunks()[0].Mode).To(Equal(mode))
			b.Expect(b.demux.Workers()[0].Mode).To(Equal(mode))
		}
	})
}

// exchange sends frames from client 1 and to it while change runs, in step with
// the two ports, checks that each is counted, and returns how many it sent each way.
func (b *bed) exchange(up, down *nettest.Port, change func()) int {
	b.learn(0, 1, tag(5))
	sent := b.traffic(up, down, change)
	b.Eventually(func() uint64 { return b.client(1).Rx.Packets }).Should(BeEquivalentTo(sent + 1))
	b.Eventually(func() uint64 { return b.client(1).Tx.Packets }).Should(BeEquivalentTo(sent))
	b.Expect(b.drops()).To(BeEmpty())
	return sent
}

// traffic sends frames from client 1 and to it while change runs, in step with the two
// ports, and returns how many it sent each way.
func (b *bed) traffic(up, down *nettest.Port, change func()) int {
	b.far[0].CountOnly()
	b.sw[0].CountOnly()
	in, out := fromClient(1, tag(5)).Bytes(), toClient(1).Bytes()
	stop := make(chan struct{})
	sent := 0
	var traffic sync.WaitGroup
	traffic.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			b.Expect(b.sw[0].SendRaw(nettest.GSO{}, in)).To(Succeed())
			b.Expect(b.far[0].SendRaw(nettest.GSO{}, out)).To(Succeed())
			sent++
			if !await(up, sent) || !await(down, sent) {
				b.t.Errorf("frames were lost: %d sent each way, %d and %d came", sent, up.Count(), down.Count())
				return
			}
		}
	})
	change()
	close(stop)
	traffic.Wait()
	b.t.Logf("%d frames each way", sent)
	return sent
}

func TestIncompatiblePins(t *testing.T) {
	nettest.Enter(t)
	path := nettest.BPFFS(t)
	b := startHere(t, demux.Options{PinPath: path, Capacity: 4})
	b.assign(mac(1), 0)
	b.assign(mac(2), 0)
	_, err := demux.Load(demux.Options{PinPath: path, Capacity: 1})
	b.Expect(err).To(MatchError(demux.ErrFull))
	b.Expect(err).To(MatchError(ContainSubstring(path)))
	b.learn(0, 1, tag(5)) // untouched
	b.assign(mac(3), 0)

	_, err = demux.Load(demux.Options{PinPath: t.TempDir()})
	b.Expect(err).To(MatchError(ContainSubstring("BPF file system")))
}

// In another network namespace the same pins are refused, and only what a namespace that
// has gone left behind can be removed from there.
func TestPinsOfAnotherNamespace(t *testing.T) {
	test := func(t *testing.T, mode demux.AttachMode, early demux.EarlyDropMode) {
		nettest.Enter(t)
		g := NewWithT(t)
		path := filepath.Join(nettest.BPFFS(t), "demux")
		opts := demux.Options{PinPath: path, Capacity: 4, Attach: mode, EarlyDrop: early}
		for _, name := range []string{"trunk0", "w0"} {
			nettest.Veth(t, name, "peer-"+name)
		}
		d, err := demux.Load(opts)
		g.Expect(err).NotTo(HaveOccurred())
		_, err = d.AttachTrunk("trunk0", false)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(d.Assign(mac(1), "w0")).To(Succeed())
		g.Expect(d.Close()).To(Succeed())
		former, err := os.Open("/proc/thread-self/ns/net")
		g.Expect(err).NotTo(HaveOccurred())

		g.Expect(unix.Unshare(unix.CLONE_NEWNET)).To(Succeed())
		nettest.Veth(t, "trunk0", "peer")
		_, err = demux.Load(opts)
		g.Expect(err).To(MatchError(demux.ErrOtherNamespace))
		g.Expect(demux.RemovePins(path)).To(MatchError(demux.ErrOtherNamespace), "it is there still")
		here, err := os.Open("/proc/thread-self/ns/net")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(unix.Setns(int(former.Fd()), 0)).To(Succeed())
		d, err = demux.Load(opts)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(d.Assignments()).To(HaveLen(1))
		g.Expect(d.Workers()).To(ConsistOf(HaveField("Mode", mode)), "it was not touched")
		g.Expect(d.Close()).To(Succeed())

		g.Expect(unix.Setns(int(here.Fd()), 0)).To(Succeed())
		g.Expect(former.Close()).To(Succeed())
		_, err = demux.Load(opts)
		g.Expect(err).To(MatchError(ContainSubstring("if it has gone, `vlandemux detach` removes them")))
		g.Eventually(func() error { return demux.RemovePins(path) }, "20s").Should(Succeed()) // the kernel takes its time with namespaces
		g.Expect(path).NotTo(BeADirectory())
	}
	eachMode(t, func(t *testing.T, mode demux.AttachMode) {
		for _, early := range []demux.EarlyDropMode{demux.EarlyDropOff, demux.EarlyDropXDP} {
			t.Run(string(early), func(t *testing.T) { test(t, mode, early) })
		}
	})
}

// A load that fails half way, for want of descriptors, leaves no pin of what it had made. Where the library asks the
// kernel for its features, its error is another one than that.
func TestAFailedLoadLeavesNoPins(t *testing.T) {
	nettest.Enter(t)
	g := NewWithT(t)
	folder := nettest.BPFFS(t)
	// The library takes EMFILE for a kernel without a feature, and remembers it for the tests that follow: it asks now.
	first, err := demux.Load(demux.Options{PinPath: filepath.Join(folder, "first"), Capacity: 4})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(first.Close()).To(Succeed())
	next, err := os.Open(os.DevNull)
	g.Expect(err).NotTo(HaveOccurred())
	var limit unix.Rlimit
	g.Expect(unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)).To(Succeed())
	descriptors := uint64(next.Fd())
	g.Expect(next.Close()).To(Succeed())
	wanting := 0
	for room := range uint64(20) { // from none on; fewer are free while sockets of an earlier test are being closed
		few := unix.Rlimit{Cur: descriptors + room, Max: limit.Max}
		g.Expect(unix.Setrlimit(unix.RLIMIT_NOFILE, &few)).To(Succeed())
		_, err = demux.Load(demux.Options{PinPath: filepath.Join(folder, "demux"), Capacity: 4})
		g.Expect(unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)).To(Succeed())
		g.Expect(err).To(HaveOccurred())
		g.Expect(filepath.Join(folder, "demux")).NotTo(BeAnExistingFile(), "%d: %v", room, err)
		if errors.Is(err, unix.EMFILE) {
			wanting++
		}
	}
	g.Expect(wanting).To(BeNumerically(">", 1))
}

// tcState is what a demux could leave on the interfaces.
func tcState(b *bed) (left []string) {
	for _, ifindex := range append(b.trunks[:], b.indexes[:]...) {
		qdiscs, err := netlink.QdiscList(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: ifindex}})
		b.Expect(err).NotTo(HaveOccurred())
		for _, qdisc := range qdiscs {
			if qdisc.Type() == "clsact" {
				left = append(left, "clsact")
			}
		}
	}
	return left
}

func TestDetachLeavesNothing(t *testing.T) {
	for name, detach := range map[string]func(b *bed, path string) error{
		"Detach": func(b *bed, _ string) error { return b.demux.Detach() },
		"RemovePins": func(b *bed, path string) error {
			b.Expect(b.demux.Close()).To(Succeed())
			return demux.RemovePins(path)
		},
		"RemovePins beside a live Demux": func(b *bed, path string) error {
			err := demux.RemovePins(path)
			b.Expect(b.demux.Unassign(mac(1))).To(MatchError(demux.ErrTakenOver))
			return err
		},
	} {
		eachMode(t, func(t *testing.T, mode demux.AttachMode) {
			t.Log(name)
			nettest.Enter(t)
			fs := nettest.BPFFS(t)
			path := filepath.Join(fs, "a", "demux")
			b := startHere(t, demux.Options{Attach: mode, PinPath: path})
			b.assign(mac(1), 0)
			b.learn(0, 1, tag(5))
			stack := nettest.Open(t, "trunk0")
			b.Expect(detach(b, path)).To(Succeed())
			_, err := os.Stat(path)
			b.Expect(err).To(MatchError(os.ErrNotExist))
			b.Expect(tcState(b)).To(BeEmpty())
			b.sw[0].Send(fromClient(1, tag(5)))
			b.Eventually(stack.Count).Should(Equal(1), "no program takes it")
			b.Expect(demux.RemovePins(path)).To(MatchError(os.ErrNotExist))
		})
	}
}

// Without pins, Close ends the dataplane.
func TestCloseWithoutPins(t *testing.T) {
	eachMode(t, func(t *testing.T, mode demux.AttachMode) {
		b := start(t, demux.Options{Attach: mode})
		b.assign(mac(1), 0)
		stack := nettest.Open(t, "trunk0")
		b.Expect(b.demux.Close()).To(Succeed())
		b.Expect(tcState(b)).To(BeEmpty())
		b.sw[0].Send(fromClient(1, tag(5)))
		b.Eventually(stack.Count).Should(Equal(1))
		b.Expect(b.demux.Assign(mac(2), b.workers[0])).To(MatchError(demux.ErrClosed))
		_, err := b.demux.Counters()
		b.Expect(err).To(MatchError(demux.ErrClosed))
	})
}

// The clsact qdisc of someone else, and filters in it, are left alone.
func TestForeignFiltersStay(t *testing.T) {
	b := wire(t)
	b.Expect(netlink.QdiscAdd(clsact(b.trunks[0]))).To(Succeed())
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	b.Expect(err).NotTo(HaveOccurred())
	defer program.Close()
	foreign := &netlink.BpfFilter{FilterAttrs: netlink.FilterAttrs{
		LinkIndex: b.trunks[0], Parent: netlink.HANDLE_MIN_INGRESS, Priority: 10, Handle: 1, Protocol: unix.ETH_P_ALL,
	}, Fd: program.FD(), Name: "foreign", DirectAction: true}
	b.Expect(netlink.FilterAdd(foreign)).To(Succeed())
	b.demux = b.load(demux.Options{Attach: demux.AttachClsact})
	_, err = b.demux.AttachTrunk(trunkNames[0], false)
	b.Expect(err).NotTo(HaveOccurred())
	b.sw[0].Send(fromClient(1, tag(5)))
	b.Eventually(b.drops).Should(HaveKey("unknown_client"), "ours comes first")
	b.Expect(b.demux.Close()).To(Succeed())
	filters, err := netlink.FilterList(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: b.trunks[0]}}, netlink.HANDLE_MIN_INGRESS)
	b.Expect(err).NotTo(HaveOccurred())
	b.Expect(filters).To(HaveLen(1))
	b.Expect(filters[0].(*netlink.BpfFilter).Name).To(Equal("foreign"))
}

func TestDetachTrunkForgetsItsLocations(t *testing.T) {
	b := start(t, demux.Options{})
	b.assign(mac(1), 0)
	b.assign(mac(2), 0)
	b.learn(0, 1, tag(5))
	b.learn(1, 2, tag(5))
	b.Expect(b.demux.DetachTrunk(trunkNames[0])).To(Succeed())
	b.Expect(b.demux.DetachTrunk(trunkNames[0])).To(MatchError(demux.ErrUnknownInterface))
	b.Expect(b.location(1).IsZero()).To(BeTrue())
	b.Expect(b.location(2).Trunk).To(Equal(b.trunks[1]))
	b.Expect(b.events(3)[2]).To(And(HaveField("Type", demux.EventForgotten), HaveField("MAC", mac(1)),
		HaveField("From", demux.Location{Trunk: b.trunks[0], Protocol: 0x8100, TCI: 5}), HaveField("To", demux.Location{})))
	b.far[0].Send(toClient(1))
	b.Eventually(b.drops).Should(HaveKey("unlearned"))
	b.Expect(b.demux.DetachWorker(b.workers[0])).To(Succeed())
	b.Expect(b.demux.Assignments()).To(BeEmpty())
	b.Expect(b.demux.Workers()).To(BeEmpty())
}

// Interfaces come and go; what is pinned for those that are gone is no obstacle.
func TestInterfacesGo(t *testing.T) {
	eachMode(t, func(t *testing.T, mode demux.AttachMode) {
		nettest.Enter(t)
		path := nettest.BPFFS(t)
		b := startHere(t, demux.Options{Attach: mode, PinPath: path})
		b.assign(mac(1), 0)
		b.Expect(b.demux.Close()).To(Succeed())
		nettest.Delete(t, "w2")
		nettest.Delete(t, "w0")
		nettest.Delete(t, "trunk1")
		b.demux = b.load(demux.Options{Attach: mode, PinPath: path})
		b.Expect(b.demux.Trunks()).To(Equal([]demux.Attachment{{Name: trunkNames[0], Index: b.trunks[0], Mode: mode, MTU: 9000}, {Name: trunkNames[1]}}))
		b.Expect(b.demux.Workers()).To(Equal([]demux.Attachment{{Name: b.workers[0]}}))
		b.sw[0].Send(fromClient(1, tag(5)))
		b.Eventually(b.drops).Should(HaveKey("no_worker"))
		b.Expect(b.location(1).IsZero()).To(BeTrue(), "nothing is learned from a frame that is dropped")
		b.Expect(b.demux.Reassign(mac(1), b.workers[1])).To(Succeed())
		b.learn(0, 1, tag(5))
		nettest.Delete(t, "w1")
		b.Expect(b.demux.DetachWorker(b.workers[1])).To(Succeed())
		b.Expect(b.demux.Detach()).To(Succeed())
	})
}
