package demux_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/nettest"
)

var group = nettest.Frame{Destination: broadcast, Source: gateway, Payload: make([]byte, 64)}

// The location of a client that sends nothing is forgotten once it has the age, and no sooner; that of one that sends
// frames stays.
func TestUnusedLocationsAreForgotten(t *testing.T) {
	eachMode(t, func(t *testing.T, mode demux.AttachMode) {
		b := start(t, demux.Options{Attach: mode, Age: time.Second})
		b.assign(mac(1), 0)
		b.assign(mac(2), 0)
		b.learn(0, 1, nettest.Tag{Protocol: 0x88a8, TCI: 7<<13 | 9})
		b.learn(1, 2, tag(6))
		was := b.location(1)
		b.events(2)
		ctx, cancel := context.WithCancel(t.Context())
		ended, begin := make(chan error, 1), time.Now()
		go func() { ended <- b.demux.ForgetUnused(ctx) }()
		for b.location(1) == was {
			b.sw[1].Send(fromClient(2, tag(6)))
			b.far[0].Send(toClient(1))
			b.Expect(time.Since(begin)).To(BeNumerically("<", patience))
			time.Sleep(time.Millisecond)
		}
		forgotten := b.events(1)
		b.Expect(forgotten[0].Time.Sub(begin)).To(BeNumerically(">=", time.Second))
		forgotten[0].Time = time.Time{}
		b.Expect(forgotten).To(Equal([]demux.Event{{Type: demux.EventForgotten, MAC: mac(1), From: was}}), "frames to a client are none of it")
		b.Expect(b.location(1).IsZero()).To(BeTrue())
		b.Expect(b.location(2)).To(Equal(demux.Location{Trunk: b.trunks[1], Protocol: 0x8100, TCI: 6}))
		cancel()
		b.Eventually(ended).Should(Receive(Succeed()))

		unlearned := b.drops()["unlearned"].Packets
		b.far[0].Send(toClient(1))
		b.Eventually(func() uint64 { return b.drops()["unlearned"].Packets }).Should(Equal(unlearned + 1))
		b.far[0].Send(group)
		b.Eventually(func() uint64 { return b.flooded(0).Packets }).Should(BeEquivalentTo(1), "no copy to a place without a client")
		b.learn(0, 1, tag(5))
		b.Expect(b.events(1)).To(ConsistOf(And(HaveField("Type", demux.EventLearned), HaveField("MAC", mac(1)))))
	})
}

// A mark that says unused changes nothing that can be seen, and the next frame of the client takes it off.
func TestALocationThatIsUsedIsNotForgotten(t *testing.T) {
	b := start(t, demux.Options{})
	b.assign(mac(1), 0)
	b.learn(0, 1, tag(5))
	was := b.location(1)
	look := demux.Ager(b.demux)
	for range 3 {
		b.Expect(look(time.Hour)).To(Succeed(), "it sets the mark")
		b.Expect(b.location(1)).To(Equal(was))
		sent := b.sw[0].Count()
		b.far[0].Send(toClient(1))
		b.Eventually(b.sw[0].Count).Should(Equal(sent + 1))
		b.far[0].Send(group)
		b.Eventually(b.sw[0].Count).Should(Equal(sent + 2))
		b.learn(0, 1, tag(5))
		b.Expect(look(0)).To(Succeed(), "it finds none, and sets it again")
		b.Expect(b.location(1)).To(Equal(was))
		b.learn(0, 1, tag(5))
	}
	b.Expect(look(time.Hour)).To(Succeed())
	b.learn(0, 1, tag(5))
	b.Expect(demux.ForgetAt(b.demux, mac(1), was)).To(Succeed(), "as if the frame had come after the look")
	b.Expect(b.location(1)).To(Equal(was))
	b.Expect(look(time.Hour)).To(Succeed())
	b.learn(1, 1, tag(5))
	b.Expect(b.events(2)).To(HaveExactElements(
		HaveField("Type", demux.EventLearned), And(HaveField("Type", demux.EventMoved), HaveField("From", was))))
	b.Expect(look(time.Hour)).To(Succeed())
	b.Expect(look(0)).To(Succeed())
	b.Expect(b.location(1).IsZero()).To(BeTrue())
}

// While locations are forgotten as fast as it goes, events lead from one location to the next, and what counts where the
// client is agrees in the end. Two processors may hand over two events in the other order.
func TestFramesComeWhileTheirLocationIsForgotten(t *testing.T) {
	b := start(t, demux.Options{})
	b.assign(mac(1), 0)
	b.far[0].CountOnly()
	look := demux.Ager(b.demux)
	var (
		forgetting sync.WaitGroup
		looks      atomic.Int32
	)
	stop := make(chan struct{})
	forgetting.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if err := look(0); err != nil {
					t.Error(err)
					return
				}
				looks.Add(1)
			}
		}
	})
	frames := 0
	for ; frames < 1000 || looks.Load() < 1000; frames++ {
		b.sw[frames%2].Send(fromClient(1, tag(5)))
		b.Expect(await(b.far[0], frames)).To(BeTrue())
	}
	b.Eventually(func() uint64 { return b.client(1).Rx.Packets }).Should(BeEquivalentTo(frames))
	close(stop)
	forgetting.Wait()
	b.learn(1, 1, tag(5))
	b.assign(mac(2), 0)
	b.learn(1, 2, tag(5)) // the last event
	b.Expect(b.counters().EventsLost).To(BeZero())
	counts, entered := map[demux.EventType]int{}, map[demux.Location]int{}
	ctx, end := context.WithTimeout(t.Context(), time.Minute)
	defer end()
	b.Expect(b.demux.ReadEvents(ctx, func(e demux.Event) error {
		if e.MAC == mac(2) {
			end()
			return nil
		}
		counts[e.Type]++
		entered[e.To]++
		entered[e.From]--
		return nil
	})).To(Succeed())
	for at, times := range entered {
		switch at {
		case b.location(1):
			b.Expect(times).To(Equal(1))
		case demux.Location{}:
			b.Expect(times).To(Equal(-1))
		default:
			b.Expect(times).To(BeZero(), at.String())
		}
	}
	b.Expect(counts[demux.EventForgotten]).To(BeNumerically(">", 1))
	b.far[0].Send(group)
	b.Eventually(func() uint64 { return b.flooded(0).Packets }).Should(BeEquivalentTo(1))
}

// The age is remembered, and so is a mark; a client that was unassigned has no location to forget.
func TestAgeAndMarksOutliveAProcess(t *testing.T) {
	nettest.Enter(t)
	path := nettest.BPFFS(t)
	b := startHere(t, demux.Options{PinPath: path, Age: 5 * time.Minute, GroupLimit: 7})
	b.assign(mac(1), 0)
	b.assign(mac(2), 0)
	b.learn(0, 1, tag(5))
	b.learn(0, 2, tag(6))
	was := b.location(1)
	b.Expect(demux.Ager(b.demux)(time.Hour)).To(Succeed())
	b.Expect(b.demux.Close()).To(Succeed())
	for _, capacity := range []int{0, 5000} { // the same maps, and others
		d, err := demux.Load(demux.Options{PinPath: path, Capacity: capacity})
		b.Expect(err).NotTo(HaveOccurred())
		b.demux = d
		b.Expect(d.Options().Age).To(Equal(5 * time.Minute))
		b.Expect(d.Options().GroupLimit).To(Equal(7))
		b.Expect(b.location(1)).To(Equal(was))
		b.Expect(demux.Ager(d)(0)).To(Succeed(), "since when it is marked is not known")
		b.Expect(b.location(1)).To(Equal(was))
		b.Expect(d.Close()).To(Succeed())
	}
	b.demux = b.load(demux.Options{PinPath: path, Capacity: 5000, Age: -1})
	b.Expect(b.demux.Options().Age).To(BeZero())
	look := demux.Ager(b.demux)
	b.Expect(look(0)).To(Succeed())
	b.Expect(b.demux.Unassign(mac(2))).To(Succeed())
	b.events(2)
	b.Expect(look(0)).To(Succeed())
	b.Expect(b.events(1)).To(ConsistOf(And(HaveField("Type", demux.EventForgotten), HaveField("MAC", mac(1)), HaveField("From", was))))
	for _, age := range []time.Duration{time.Millisecond, 1500 * time.Millisecond, 241 * time.Hour} {
		_, err := demux.Load(demux.Options{Age: age})
		b.Expect(err).To(MatchError(ContainSubstring("whole seconds up to 240h0m0s")))
	}
}

// A client that may be at one place only is there, however long it is silent; one that may be at two is forgotten, and a
// mark in its location is no other place.
func TestTheOnlyPlaceOfAClientIsNotForgotten(t *testing.T) {
	b := start(t, demux.Options{})
	one := demux.Place{Trunk: trunkNames[0], Protocol: demux.Protocol8021Q, VID: 5}
	other := demux.Place{Trunk: trunkNames[1], Protocol: demux.Protocol8021Q, VID: 6}
	b.Expect(b.demux.AssignAll([]demux.Assignment{
		{MAC: mac(1), Worker: b.workers[0], Places: []demux.Place{one}},
		{MAC: mac(2), Worker: b.workers[0], Places: []demux.Place{one, other}},
	})).To(Succeed())
	b.learn(1, 2, tag(6))
	was := b.location(1)
	b.Expect(was.IsZero()).To(BeFalse())
	look := demux.Ager(b.demux)
	b.Expect(look(time.Hour)).To(Succeed())
	seen := b.location(2)
	b.Expect(b.demux.ReassignAll([]demux.Assignment{{MAC: mac(2), Worker: b.workers[0], Places: []demux.Place{other}}})).To(Succeed())
	b.Expect(b.demux.ReassignAll([]demux.Assignment{{MAC: mac(2), Worker: b.workers[0], Places: []demux.Place{one, other}}})).To(Succeed())
	b.Expect(b.location(2)).To(Equal(seen))
	b.Expect(look(0)).To(Succeed())
	b.Expect(b.location(1)).To(Equal(was))
	b.Expect(b.location(2).IsZero()).To(BeTrue())
}
