package demux_test

import (
	"sync"
	"sync/atomic"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/nettest"
)

func TestAssignRefuses(t *testing.T) {
	b := start(t, demux.Options{Capacity: 2})
	w := b.workers
	for _, bad := range []demux.MAC{{}, broadcast, {1, 0, 0x5e, 0, 0, 1}} {
		for _, err := range []error{b.demux.Assign(bad, w[0]), b.demux.Reassign(bad, w[0]), b.demux.Unassign(bad)} {
			b.Expect(err).To(MatchError(demux.ErrBadMAC))
			b.Expect(err).To(MatchError(ContainSubstring(bad.String())))
		}
	}
	b.Expect(b.demux.Assign(mac(1), "none")).To(MatchError(demux.ErrUnknownInterface))
	b.Expect(b.demux.Assign(mac(1), "")).To(MatchError(demux.ErrUnknownInterface))
	b.Expect(b.demux.Assign(mac(1), trunkNames[0])).To(MatchError(demux.ErrWrongRole))
	b.Expect(b.demux.Reassign(mac(1), w[0])).To(MatchError(demux.ErrNotAssigned))
	b.Expect(b.demux.Unassign(mac(1))).To(MatchError(demux.ErrNotAssigned))
	b.Expect(b.demux.Workers()).To(BeEmpty())

	b.assign(mac(1), 0)
	err := b.demux.Assign(mac(1), w[1])
	b.Expect(err).To(MatchError(demux.ErrAssigned))
	b.Expect(err).To(MatchError(HaveSuffix("already assigned to " + w[0])))
	b.Expect(b.demux.Reassign(mac(1), "none")).To(MatchError(demux.ErrUnknownInterface))
	b.assign(mac(2), 0)
	err = b.demux.Assign(mac(3), w[2])
	b.Expect(err).To(MatchError(demux.ErrFull))
	b.Expect(err).To(MatchError(ContainSubstring("all 2 assignments are in use")))

	b.learn(0, 1, tag(5)) // what is there keeps working
	b.far[0].Send(toClient(1))
	b.Eventually(b.sw[0].Count).Should(Equal(1))
	b.Expect(b.demux.Workers()).To(HaveLen(1))
}

func TestAssignAllIsAllOrNothing(t *testing.T) {
	b := start(t, demux.Options{Capacity: 3})
	b.assign(mac(9), 0)
	for _, list := range [][]demux.Assignment{
		{{MAC: mac(1), Worker: b.workers[0]}, {MAC: mac(1), Worker: b.workers[1]}},
		{{MAC: mac(1), Worker: b.workers[0]}, {MAC: mac(9), Worker: b.workers[1]}},
		{{MAC: mac(1), Worker: b.workers[0]}, {MAC: broadcast, Worker: b.workers[1]}},
		{{MAC: mac(1), Worker: b.workers[0]}, {MAC: mac(2), Worker: "none"}},
		{{MAC: mac(1), Worker: b.workers[0]}, {MAC: mac(2), Worker: b.workers[0]}, {MAC: mac(3), Worker: b.workers[0]}},
	} {
		b.Expect(b.demux.AssignAll(list)).NotTo(Succeed())
		b.Expect(b.demux.Assignments()).To(Equal([]demux.Assignment{{MAC: mac(9), Worker: b.workers[0]}}))
	}
	b.Expect(b.demux.AssignAll(nil)).To(Succeed())
	for range 2 { // an assignment that is there already takes no room in the full table
		b.Expect(b.demux.AssignAll([]demux.Assignment{{MAC: mac(2), Worker: b.workers[1]}, {MAC: mac(1), Worker: b.workers[0]}})).To(Succeed())
		b.Expect(b.demux.Assignments()).To(Equal([]demux.Assignment{
			{MAC: mac(1), Worker: b.workers[0]}, {MAC: mac(2), Worker: b.workers[1]}, {MAC: mac(9), Worker: b.workers[0]},
		}))
	}
}

func TestReassign(t *testing.T) {
	b := start(t, demux.Options{})
	b.assign(mac(1), 0)
	seen := tag(6<<13 | 5) // with a priority, which a group frame does not take over
	b.learn(0, 1, seen)
	b.assign(mac(9), 0) // keeps the worker attached
	b.Expect(b.demux.Reassign(mac(1), b.workers[1])).To(Succeed())
	b.far[0].Send(toClient(1))
	group := nettest.Frame{Destination: broadcast, Source: gateway, Payload: make([]byte, 64)}
	b.far[0].Send(group)
	b.Eventually(b.drops).Should(Equal(map[string]demux.Tally{"not_assigned": tally(toClient(1).Bytes()), "unlearned": tally(group.Bytes())}))
	b.far[1].Send(toClient(1)) // the location is still known
	b.far[1].Send(group)
	b.Eventually(b.sw[0].Frames).Should(Equal([][]byte{toClient(1, seen).Bytes(), group.WithTags(tag(5)).Bytes()}))
	b.sw[0].Send(fromClient(1, tag(5)))
	b.Eventually(b.far[1].Count).Should(Equal(1))
	b.Eventually(b.far[0].Count).Should(Equal(1))
	b.Expect(b.client(1).Rx.Packets).To(BeEquivalentTo(2), "counters go on")
}

func TestUnassign(t *testing.T) {
	b := start(t, demux.Options{})
	b.assign(mac(1), 0)
	b.assign(mac(2), 0)
	b.learn(0, 1, tag(5))
	b.Expect(b.demux.Unassign(mac(1))).To(Succeed())
	b.Expect(b.demux.Assignments()).To(HaveLen(1))
	b.sw[0].Send(fromClient(1, tag(5)))
	b.far[0].Send(toClient(1))
	group := nettest.Frame{Destination: broadcast, Source: gateway, Payload: make([]byte, 64)}
	b.far[0].Send(group)
	b.Eventually(b.drops).Should(Equal(map[string]demux.Tally{
		"unknown_client": tally(fromClient(1, tag(5)).Bytes()),
		"not_assigned":   tally(toClient(1).Bytes()),
		"unlearned":      tally(group.Bytes()),
	}))
	b.Expect(b.demux.Unassign(mac(2))).To(Succeed())
	b.Expect(b.demux.Workers()).To(BeEmpty(), "a worker without clients is detached")
	stack := nettest.Open(t, b.workers[0])
	b.far[0].Send(toClient(1))
	b.Eventually(stack.Count).Should(Equal(1))
}

// The one slot goes from client to client, and none sees anything of another.
func TestSlotReuse(t *testing.T) {
	b := start(t, demux.Options{Capacity: 1})
	for n := 1; n <= 5; n++ {
		b.assign(mac(n), 0)
		b.Expect(b.location(n)).To(Equal(demux.Location{}))
		b.Expect(b.client(n)).To(Equal(demux.ClientCounters{MAC: mac(n), Worker: b.workers[0]}))
		b.far[0].Send(toClient(n))
		b.Eventually(func() uint64 { return b.drops()["unlearned"].Packets }).Should(BeEquivalentTo(n))
		for range n {
			b.learn(0, n, tag(uint16(n)))
		}
		b.Eventually(func() uint64 { return b.client(n).Rx.Packets }).Should(BeEquivalentTo(n))
		b.Expect(b.demux.Unassign(mac(n))).To(Succeed())
	}
}

// While traffic flows, assignments change as fast as they can: each frame is
// counted once, and none reaches a worker its client never had.
func TestAssignWhileTrafficFlows(t *testing.T) {
	b := start(t, demux.Options{Capacity: 4})
	b.assign(mac(1), 0)
	b.assign(mac(2), 0)
	b.assign(mac(3), 1)
	for _, port := range append(b.far[:], b.sw[:]...) {
		port.CountOnly()
	}
	b.learn(0, 3, tag(9))
	frames := many(30_000)
	var traffic sync.WaitGroup
	var total atomic.Int64
	for n := 1; n <= 2; n++ {
		traffic.Go(func() {
			in, out := fromClient(n, tag(uint16(n))).Bytes(), toClient(3).Bytes()
			for i := range frames {
				b.Expect(b.sw[0].SendRaw(nettest.GSO{}, in)).To(Succeed())
				b.Expect(b.far[1].SendRaw(nettest.GSO{}, out)).To(Succeed())
				sent := int(total.Add(1))
				if i%50 == 0 {
					b.Expect(await(b.sw[0], sent)).To(BeTrue())
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { traffic.Wait(); close(done) }()
	rounds := 0
	for running := true; running; rounds++ {
		b.Expect(b.demux.Reassign(mac(1), b.workers[rounds%2])).To(Succeed())
		b.Expect(b.demux.Unassign(mac(2))).To(Succeed())
		b.Expect(b.demux.Assign(mac(2), b.workers[0])).To(Succeed())
		b.Expect(b.demux.Assign(mac(4), b.workers[1])).To(Succeed())
		b.Expect(b.demux.Unassign(mac(4))).To(Succeed())
		select {
		case <-done:
			running = false
		default:
		}
	}
	t.Logf("%d rounds", rounds)
	b.Eventually(func() uint64 { return b.client(1).Rx.Packets }).Should(BeEquivalentTo(frames))
	b.Eventually(func() uint64 { return b.client(3).Tx.Packets }).Should(BeEquivalentTo(2 * frames))
	b.Expect(b.client(3).Rx.Packets).To(BeEquivalentTo(1))
	dropped := b.drops()["unknown_client"].Packets
	b.Expect(dropped).To(BeNumerically(">", 0))
	b.Expect(dropped + b.client(2).Rx.Packets).To(BeNumerically("<=", frames))
	b.Eventually(func() int { return b.far[0].Count() + b.far[1].Count() }).Should(BeEquivalentTo(2*frames - int(dropped) + 1))
	b.Eventually(b.sw[0].Count).Should(Equal(2 * frames))
	b.Expect(b.far[2].Count()).To(BeZero())
}
