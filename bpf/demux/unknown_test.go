package demux_test

import (
	"errors"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/vishvananda/netlink"
	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/nettest"
	"golang.org/x/sys/unix"
)

// What a MAC without a worker sends is left to the stack with its tag, and to nobody else.
func TestUnknownPass(t *testing.T) {
	eachMode(t, func(t *testing.T, mode demux.AttachMode) {
		b := start(t, demux.Options{Attach: mode, Unknown: demux.UnknownPass})
		b.assign(mac(1), 0)
		frame := fromClient(2, tag(7))
		frame.EtherType = 0x88b5
		// Behind the programs the tag is the stack's: a VLAN's interface takes it off, or the kernel does where there is none.
		at := "trunk0"
		vlan := &netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "vlan7", ParentIndex: b.trunks[0], Flags: 1}, VlanId: 7}
		if err := netlink.LinkAdd(vlan); !errors.Is(err, unix.EOPNOTSUPP) { // a kernel without 8021q
			b.Expect(err).NotTo(HaveOccurred())
			at = "vlan7"
		}
		stack := nettest.OpenStack(t, at, frame.EtherType)
		b.sw[0].Send(frame)
		b.Eventually(stack.Frames).Should(Equal([][]byte{frame.WithTags().Bytes()}))
		b.sw[0].Send(fromClient(1, tag(7)))
		b.Eventually(b.far[0].Count).Should(Equal(1))
		b.Expect(b.counters().UnknownPassed).To(Equal(tally(frame.Bytes())))
		b.Expect(b.drops()).To(BeEmpty())
		// Only MACs are unknown, not mistakes.
		b.sw[0].Send(fromClient(2))
		b.sw[0].Send(fromClient(2, tag(4095)))
		b.Eventually(b.drops).Should(And(HaveKey("untagged"), HaveKey("invalid_vlan")))
		b.Expect(stack.Count()).To(Equal(1))
	})
}

// The default worker gets it without the tag; what it answers has no client to go to.
func TestUnknownToDefaultWorker(t *testing.T) {
	eachMode(t, func(t *testing.T, mode demux.AttachMode) {
		nettest.Enter(t)
		opts := demux.Options{Attach: mode, Unknown: "w2", PinPath: nettest.BPFFS(t)}
		b := startHere(t, opts)
		b.assign(mac(1), 0)
		frame := fromClient(2, tag(7), inner[0])
		b.sw[0].Send(frame)
		b.Eventually(b.drops).Should(HaveKey("no_worker"), "there is none yet")
		_, err := b.demux.AttachWorker("w2", false)
		b.Expect(err).NotTo(HaveOccurred())
		b.Expect(b.demux.SetDefaultWorker("w2")).To(Succeed())
		b.Expect(b.demux.SetDefaultWorker("trunk0")).To(MatchError(demux.ErrUnknownInterface))
		send := func(n int) {
			b.t.Helper()
			b.sw[0].Send(frame)
			b.Eventually(b.far[2].Count).Should(Equal(n))
			b.Expect(b.counters().UnknownForwarded.Packets).To(BeEquivalentTo(n))
		}
		send(1)
		b.Expect(b.far[2].Frames()).To(Equal([][]byte{frame.WithTags(inner[0]).Bytes()}))
		b.Expect(b.counters().UnknownForwarded).To(Equal(tally(frame.Bytes())))
		b.sw[0].Send(fromClient(1, tag(7)))
		b.Eventually(b.far[0].Count).Should(Equal(1))
		b.far[2].Send(toClient(2))
		b.far[2].Send(nettest.Frame{Destination: broadcast, Source: gateway, Payload: make([]byte, 80)})
		b.Eventually(b.drops).Should(HaveKeyWithValue("not_assigned", HaveField("Packets", BeEquivalentTo(2))))

		// It may have clients of its own, and stays when the last of them goes.
		b.assign(mac(3), 2)
		b.Expect(b.demux.Unassign(mac(3))).To(Succeed())
		send(2)
		before := b.drops()["no_worker"].Packets
		b.rename("w2", "w9")
		w9, err := netlink.LinkByName("w9")
		b.Expect(err).NotTo(HaveOccurred())
		b.Expect(netlink.LinkSetDown(w9)).To(Succeed())
		b.resync()
		b.sw[0].Send(frame)
		b.Eventually(b.drops).Should(HaveKeyWithValue("no_worker", HaveField("Packets", BeEquivalentTo(before+1))))
		b.Expect(netlink.LinkSetUp(w9)).To(Succeed())
		b.Expect(nettest.AwaitOperational("w9")).To(Succeed())
		b.resync()
		send(3)
		// Remembered, in the same maps and in others.
		for i, capacity := range []int{16, 100} {
			b.Expect(b.demux.Close()).To(Succeed())
			b.demux = b.load(demux.Options{Attach: mode, PinPath: opts.PinPath, Capacity: capacity})
			b.Expect(b.demux.Options().Unknown).To(Equal("w9"))
			send(4 + i)
		}
		b.Expect(b.demux.SetDefaultWorker("")).To(Succeed())
		b.Expect(b.demux.Workers()).To(ConsistOf(HaveField("Name", "w0")), "it had no client")
	})
}

// A worker may send its limit of group frames at once, and no more in that moment; others are not
// hindered, nor are its unicasts. A frame over the limit counts once, however many copies it was to have.
func TestGroupLimit(t *testing.T) {
	const limit = 20
	nettest.Enter(t)
	opts := demux.Options{GroupLimit: limit, PinPath: nettest.BPFFS(t)}
	b := startHere(t, opts)
	for n := range 3 {
		b.assign(mac(1+n), n/2) // two at w0, one at w1
		b.learn(0, 1+n, tag(uint16(7+n)))
	}
	group := toClient(1)
	group.Destination = broadcast
	const sent = 100
	started := time.Now()
	for range sent {
		b.far[0].Send(group)
	}
	b.far[0].Send(toClient(1))
	b.far[1].Send(group)
	b.Eventually(func() uint64 { return b.flooded(1).Packets + b.client(1).Tx.Packets }).Should(BeEquivalentTo(2))
	over := b.drops()["group_limit"]
	// More become free while frames are sent.
	free := limit * (1 + time.Since(started).Seconds())
	b.Expect(over.Packets).To(And(BeNumerically("<=", sent-limit), BeNumerically(">=", sent-1-free)))
	b.Expect(over.Bytes).To(Equal(over.Packets * uint64(len(group.Bytes()))))
	b.Expect(b.flooded(0).Packets).To(Equal(2 * (sent - over.Packets)))

	b.Expect(b.demux.Close()).To(Succeed())
	b.demux = b.load(demux.Options{PinPath: opts.PinPath})
	b.Expect(b.demux.Options().GroupLimit).To(Equal(limit), "remembered")
	b.Expect(b.demux.Close()).To(Succeed())
	b.demux = b.load(demux.Options{PinPath: opts.PinPath, GroupLimit: -1})
	before := b.flooded(0).Packets
	for range sent {
		b.far[0].Send(group)
	}
	b.Eventually(func() uint64 { return b.flooded(0).Packets }).Should(Equal(before + 2*sent))
}
