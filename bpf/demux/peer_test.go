package demux_test

import (
	"context"
	"os"
	"runtime"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	. "github.com/onsi/gomega"
	"github.com/vishvananda/netlink"
	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/nettest"
	"golang.org/x/sys/unix"
)

// namespaces are two: home, which the test is in, and away.
type namespaces struct {
	*GomegaWithT
	home, away *os.File
}

func (b *bed) namespaces() *namespaces {
	n := &namespaces{GomegaWithT: b.GomegaWithT}
	here := func() *os.File {
		namespace, err := os.Open("/proc/thread-self/ns/net")
		b.Expect(err).NotTo(HaveOccurred())
		b.t.Cleanup(func() { namespace.Close() })
		return namespace
	}
	n.home = here()
	b.Expect(unix.Unshare(unix.CLONE_NEWNET)).To(Succeed())
	n.away = here()
	n.enter(n.home)
	return n
}

func (n *namespaces) enter(namespace *os.File) {
	n.Expect(unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET)).To(Succeed())
}

// in runs do in a namespace.
func (n *namespaces) in(namespace *os.File, do func()) {
	n.enter(namespace)
	defer n.enter(n.home)
	do()
}

// move takes an interface from one namespace to another, where it is up.
func (n *namespaces) move(name string, from, to *os.File) {
	n.transfer(name, from, to)
	n.raise(name, to)
}

func (n *namespaces) transfer(name string, from, to *os.File) {
	n.in(from, func() {
		found, err := netlink.LinkByName(name)
		n.Expect(err).NotTo(HaveOccurred())
		n.Expect(netlink.LinkSetNsFd(found, int(to.Fd()))).To(Succeed())
	})
}

func (n *namespaces) raise(name string, in *os.File) {
	n.in(in, func() {
		found, err := netlink.LinkByName(name)
		n.Expect(err).NotTo(HaveOccurred())
		n.Expect(netlink.LinkSetIP6AddrGenMode(found, 1)).To(Succeed()) // it sends nothing by itself
		n.Expect(netlink.LinkSetUp(found)).To(Succeed())
		n.Expect(nettest.AwaitOperational(name)).To(Succeed())
	})
}

// startAway starts a demux on the first worker, whose other end is in another namespace.
func startAway(t *testing.T, opts demux.Options) (*bed, *namespaces) {
	b := startHere(t, opts)
	n := b.namespaces()
	b.moveAway(n)
	b.assign(mac(1), 0)
	return b, n
}

// moveAway moves the other end of the first worker, and captures there.
func (b *bed) moveAway(n *namespaces) {
	n.move("p0", n.home, n.away)
	n.in(n.away, func() { b.far[0] = nettest.Open(b.t, "p0") })
	b.Expect(nettest.AwaitOperational("w0")).To(Succeed())
}

// crossed is how many packets were sent on the host's end of a worker.
func (b *bed) crossed(worker int) uint64 {
	b.t.Helper()
	found, err := netlink.LinkByName(b.workers[worker])
	b.Expect(err).NotTo(HaveOccurred())
	return found.Attrs().Statistics.TxPackets
}

// filter attaches a program at ingress of an interface, before those that are there.
func (b *bed) filter(ifindex int, mode demux.AttachMode, code ...asm.Instruction) {
	code = append(code, asm.Mov.Imm(asm.R0, -1), asm.Return()) // TC_ACT_UNSPEC: to the next program
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, Instructions: code, License: "Dual BSD/GPL"})
	b.Expect(err).NotTo(HaveOccurred())
	b.t.Cleanup(func() { program.Close() })
	if mode == demux.AttachTCX {
		first, err := link.AttachTCX(link.TCXOptions{Interface: ifindex, Program: program, Attach: ebpf.AttachTCXIngress, Anchor: link.Head()})
		b.Expect(err).NotTo(HaveOccurred())
		b.t.Cleanup(func() { first.Close() })
		return
	}
	_ = netlink.QdiscAdd(clsact(ifindex)) // it may be there
	b.Expect(netlink.FilterAdd(&netlink.BpfFilter{FilterAttrs: netlink.FilterAttrs{
		LinkIndex: ifindex, Parent: netlink.HANDLE_MIN_INGRESS, Priority: 1, Protocol: unix.ETH_P_ALL,
	}, Fd: program.FD(), Name: "test", DirectAction: true})).To(Succeed())
}

// Places in struct __sk_buff.
const (
	skbType     = 4
	skbMark     = 8
	skbPriority = 32
)

// A frame does not cross the host's end, and is at the other end as veth would have left it there: as it was sent, without
// a mark or a priority, and not as one for another host, which IP would drop.
func TestRedirectsToTheOtherEnd(t *testing.T) {
	eachMode(t, func(t *testing.T, mode demux.AttachMode) {
		nettest.Enter(t)
		b, n := startAway(t, demux.Options{Attach: mode, Redirect: demux.RedirectPeer, Unknown: "w0"})
		b.Expect(b.demux.SetDefaultWorker("w0")).To(Succeed())
		b.Expect(b.demux.Workers()).To(HaveExactElements(HaveField("Peer", true)))
		b.filter(b.trunks[0], mode, asm.Mov.Imm(asm.R2, 7), asm.StoreMem(asm.R1, skbMark, asm.R2, asm.Word), asm.StoreMem(asm.R1, skbPriority, asm.R2, asm.Word))
		var stack *nettest.Port
		n.in(n.away, func() {
			p0, err := netlink.LinkByName("p0")
			b.Expect(err).NotTo(HaveOccurred())
			b.filter(p0.Attrs().Index, mode,
				asm.LoadMem(asm.R2, asm.R1, skbMark, asm.Word),
				asm.LoadMem(asm.R3, asm.R1, skbPriority, asm.Word),
				asm.Or.Reg(asm.R2, asm.R3),
				asm.JNE.Imm(asm.R2, 0, "drop"),
				asm.LoadMem(asm.R2, asm.R1, skbType, asm.Word),
				asm.JNE.Imm(asm.R2, unix.PACKET_OTHERHOST, "next"),
				asm.Mov.Imm(asm.R0, 2).WithSymbol("drop"), // TC_ACT_SHOT
				asm.Return(),
				asm.Mov.Imm(asm.R2, 0).WithSymbol("next"))
			stack = nettest.OpenStack(t, "p0", 0x88b5)
		})
		group, unknown := fromClient(1, tag(7)), fromClient(2, tag(7))
		group.Destination = broadcast
		var sent, want [][]byte
		for _, frame := range []nettest.Frame{fromClient(1, tag(7)), group, unknown} {
			b.sw[0].Send(frame)
			sent, want = append(sent, frame.Bytes()), append(want, frame.WithTags().Bytes())
		}
		b.Eventually(stack.Frames).Should(Equal(want))
		tagged := fromClient(1, tag(7), inner[0], inner[1])
		b.sw[0].Send(tagged)
		b.Eventually(b.far[0].Frames).Should(Equal(append(want, tagged.WithTags(inner...).Bytes())))
		b.Expect(b.client(1).Rx).To(Equal(tally(sent[0], sent[1], tagged.Bytes())))
		b.Expect(b.counters().UnknownForwarded).To(Equal(tally(sent[2])))
		b.far[0].Send(toClient(1))
		b.Eventually(b.sw[0].Frames).Should(Equal([][]byte{toClient(1, tag(7)).Bytes()}))
		b.Expect(b.crossed(0)).To(BeZero())
		b.Expect(b.drops()).To(BeEmpty())
	})
}

// A super-packet comes as it is, with the checksum that is not finished, whatever the offloads of the host's end.
func TestRedirectsSuperPacketsToTheOtherEnd(t *testing.T) {
	nettest.Enter(t)
	b, _ := startAway(t, demux.Options{Redirect: demux.RedirectPeer})
	nettest.SegmentInSoftware(t, "w0")
	packet := superPacket{size: 1448, payload: 30000, tags: []nettest.Tag{tag(7)}}
	gso, frame := packet.build(gateway, mac(1))
	b.Expect(b.sw[0].SendRaw(gso, frame)).To(Succeed())
	packet.tags = nil
	_, want := packet.build(gateway, mac(1))
	b.Eventually(b.far[0].Frames).Should(Equal([][]byte{want}))
	b.Expect(b.client(1).Rx.Packets).To(BeEquivalentTo(21))
	b.Expect(b.crossed(0)).To(BeZero())
}

// What the kernel would drop without a word does not go to the other end: there is none, or it is in this namespace, or
// what the interface names is no end but a device below it.
func TestRedirectsToTheInterfaceOfOtherWorkers(t *testing.T) {
	nettest.Enter(t)
	b, n := startAway(t, demux.Options{Redirect: demux.RedirectPeer})
	b.assign(mac(2), 1)
	b.workers[2] = "upper"
	var under *nettest.Port
	n.in(n.away, func() {
		_, end := nettest.Veth(t, "below", "end")
		upper := &netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: "upper", ParentIndex: end}, Mode: netlink.MACVLAN_MODE_BRIDGE}
		b.Expect(netlink.LinkAdd(upper)).To(Succeed())
		under = nettest.Open(t, "below")
	})
	n.move("upper", n.away, n.home)
	b.assign(mac(3), 2)
	for i, port := range []*nettest.Port{b.far[0], b.far[1], under} {
		b.sw[0].Send(fromClient(i+1, tag(7)))
		b.Eventually(port.Frames).Should(Equal([][]byte{fromClient(i + 1).Bytes()}), b.workers[i])
		b.Expect(b.demux.Workers()).To(ContainElement(And(HaveField("Name", b.workers[i]), HaveField("Peer", i == 0))))
	}
	b.Expect(b.crossed(1)).To(BeEquivalentTo(1))
}

// The other end is down once it has been moved, and its clients have no worker. Frames go the way that the kernel takes from
// where it is then.
func TestFollowsTheOtherEndToItsNamespace(t *testing.T) {
	b := start(t, demux.Options{Redirect: demux.RedirectPeer})
	b.assign(mac(1), 0)
	n := b.namespaces()
	ctx, cancel := context.WithCancel(t.Context())
	told, ended := make(chan demux.Change, 10), make(chan struct{})
	go func() { // Follow is for the namespace of its caller
		defer close(ended)
		defer cancel()
		runtime.LockOSThread()
		n.enter(n.home)
		crossed := 0
		for moves, to := range []*os.File{n.away, n.home, n.away} {
			n.transfer("p0", []*os.File{n.home, n.away}[moves%2], to)
			b.Eventually(told).Should(Receive(HaveField("What", "down")))
			b.sw[0].Send(fromClient(1, tag(5)))
			b.Eventually(b.drops).Should(HaveKeyWithValue("no_worker", HaveField("Packets", BeEquivalentTo(moves+1))))
			n.in(to, func() { b.far[0] = nettest.Open(t, "p0") })
			n.raise("p0", to)
			b.Eventually(told).Should(Receive(HaveField("What", "up")))
			b.expectAt(1, 0)
			if to == n.home {
				crossed++
			}
			b.Expect(b.crossed(0)).To(BeEquivalentTo(crossed), "after move %d", moves)
		}
	}()
	b.Expect(b.demux.Follow(ctx, demux.FollowOptions{Looked: func() {}, Changed: func(c demux.Change) { told <- c }})).To(Succeed())
	<-ended
	n.move("p0", n.away, n.home) // at once: it is up when it is looked at
	b.far[0] = nettest.Open(t, "p0")
	b.Expect(nettest.AwaitOperational("w0")).To(Succeed())
	b.resync()
	b.expectAt(1, 0)
}

// The mode can change at each restart, with the same maps and with others: no frame is lost.
func TestRedirectModeChangesAtARestart(t *testing.T) {
	eachMode(t, func(t *testing.T, mode demux.AttachMode) {
		nettest.Enter(t)
		opts := demux.Options{Attach: mode, PinPath: nettest.BPFFS(t)}
		b, _ := startAway(t, opts)
		was := demux.RedirectInterface
		sent := b.exchange(b.far[0], b.sw[0], func() {
			for i, want := range []demux.RedirectMode{demux.RedirectPeer, demux.RedirectPeer, demux.RedirectInterface, demux.RedirectPeer, "", demux.RedirectInterface, ""} {
				opts.Capacity, opts.Redirect = 16+i/4*16, want
				b.Expect(b.demux.Close()).To(Succeed())
				b.demux = b.load(opts)
				if want != "" {
					was = want
				}
				b.Expect(b.demux.Workers()[0].Peer).To(Equal(was == demux.RedirectPeer))
			}
		})
		b.Eventually(b.far[0].Count).Should(Equal(sent + 1))
		b.Eventually(b.sw[0].Count).Should(Equal(sent))
		b.Expect(b.crossed(0)).To(And(BeNumerically(">", 0), BeNumerically("<", sent)))
	})
}
