package demux_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/nettest"
)

// events reads at least n events and what comes with them.
func (b *bed) events(n int) []demux.Event {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	var events []demux.Event
	err := b.demux.ReadEvents(ctx, func(e demux.Event) error {
		events = append(events, e)
		if len(events) == n {
			time.AfterFunc(100*time.Millisecond, cancel) // one too many would be there by then
		}
		return nil
	})
	b.Expect(err).NotTo(HaveOccurred())
	return events
}

// clockError is how much too early the time of an event may be: two clocks are read one after the other.
const clockError = 5 * time.Millisecond

func TestEvents(t *testing.T) {
	b := start(t, demux.Options{})
	b.assign(mac(1), 0)
	b.assign(mac(2), 1)
	begin := time.Now()
	b.learn(0, 1, tag(11))
	b.learn(0, 1, nettest.Tag{Protocol: 0x8100, TCI: 1<<13 | 11}) // no move
	b.learn(0, 2, tag(11))
	b.learn(0, 1, nettest.Tag{Protocol: 0x88a8, TCI: 11})
	b.learn(1, 1, nettest.Tag{Protocol: 0x88a8, TCI: 11})
	b.learn(1, 1, nettest.Tag{Protocol: 0x88a8, TCI: 0})

	at := func(trunk int, protocol, tci uint16) demux.Location {
		return demux.Location{Trunk: b.trunks[trunk], Protocol: protocol, TCI: tci}
	}
	events := b.events(5)
	for i := range events {
		b.Expect(events[i].Time).To(And(
			BeTemporally(">=", begin.Add(-clockError)), BeTemporally("<=", time.Now())))
		if i > 0 {
			b.Expect(events[i].Time).To(BeTemporally(">=", events[i-1].Time.Add(-clockError)))
		}
		events[i].Time = time.Time{}
	}
	b.Expect(events).To(Equal([]demux.Event{
		{Type: demux.EventLearned, MAC: mac(1), To: at(0, 0x8100, 11)},
		{Type: demux.EventLearned, MAC: mac(2), To: at(0, 0x8100, 11)},
		{Type: demux.EventMoved, MAC: mac(1), From: at(0, 0x8100, 1<<13|11), To: at(0, 0x88a8, 11)},
		{Type: demux.EventMoved, MAC: mac(1), From: at(0, 0x88a8, 11), To: at(1, 0x88a8, 11)},
		{Type: demux.EventMoved, MAC: mac(1), From: at(1, 0x88a8, 11), To: at(1, 0x88a8, 0)},
	}))
}

func TestReadEventsEnds(t *testing.T) {
	b := start(t, demux.Options{})
	b.assign(mac(1), 0)
	b.learn(0, 1, tag(11))

	enough := errors.New("enough")
	b.Expect(b.demux.ReadEvents(t.Context(), func(demux.Event) error { return enough })).To(MatchError(enough))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b.Expect(b.demux.ReadEvents(ctx, func(demux.Event) error { return nil })).To(Succeed())

	ended := make(chan error)
	go func() { ended <- b.demux.ReadEvents(t.Context(), func(demux.Event) error { return nil }) }()
	b.Consistently(ended, "50ms").ShouldNot(Receive())
	b.Expect(b.demux.Close()).To(Succeed())
	b.Eventually(ended).Should(Receive(MatchError(demux.ErrClosed)))
}

// A reader that ends takes no event along: the next one begins with that which it would have handed over.
func TestTheNextReaderGoesOnWhereOneEnded(t *testing.T) {
	b := start(t, demux.Options{})
	b.assign(mac(1), 0)
	const moves = 100
	var want, seen []uint16
	for vid := range uint16(moves) {
		b.learn(0, 1, tag(vid))
		want = append(want, vid)
	}
	deadline, end := context.WithTimeout(t.Context(), patience)
	defer end()
	for len(seen) < moves && deadline.Err() == nil {
		ctx, cancel := context.WithCancel(deadline)
		b.Expect(b.demux.ReadEvents(ctx, func(e demux.Event) error {
			seen = append(seen, e.To.VID())
			cancel()
			return nil
		})).To(Succeed())
	}
	b.Expect(seen).To(Equal(want))
}

// Nothing waits for a reader: once the ring is full, events are counted as lost
// and frames still get through.
func TestEventsLost(t *testing.T) {
	b := start(t, demux.Options{})
	b.assign(mac(1), 0)
	b.far[0].CountOnly()
	const moves = 40000
	for i := range moves {
		b.sw[0].Send(fromClient(1, tag(uint16(i%2+1))))
		b.Expect(await(b.far[0], i)).To(BeTrue())
	}
	b.Eventually(func() uint64 { return b.client(1).Rx.Packets }).Should(BeEquivalentTo(moves))
	b.Eventually(b.far[0].Count).Should(Equal(moves))
	lost := b.counters().EventsLost
	b.Expect(lost).To(BeNumerically(">", 0))
	b.Expect(b.events(int(moves - lost))).To(HaveLen(int(moves - lost)))
}

// Two CPUs that learn where one client is, each time somewhere else, tell of one way through all the places: who comes to one
// leaves it again, but for the last.
func TestEventsOfAClientThatTwoCPUsSee(t *testing.T) {
	b := start(t, demux.Options{})
	b.assign(mac(1), 0)
	b.far[0].CountOnly()
	const rounds = 4
	frames := many(5000)     // of each CPU: the ring has room for the events of a round
	var begin demux.Location // of a round
	var total atomic.Int64
	for round := range rounds {
		var group sync.WaitGroup
		for trunk, port := range b.sw {
			group.Go(func() {
				places := [][]byte{fromClient(1, tag(uint16(2*trunk))).Bytes(), fromClient(1, tag(uint16(2*trunk+1))).Bytes()}
				for i := range frames {
					b.Expect(port.SendRaw(nettest.GSO{}, places[i%len(places)])).To(Succeed())
					if sent := int(total.Add(1)); i%50 == 0 {
						b.Expect(await(b.far[0], sent)).To(BeTrue())
					}
				}
			})
		}
		group.Wait()
		sent := uint64(2*frames*(round+1) + round)
		b.Eventually(func() uint64 { return b.client(1).Rx.Packets }).Should(Equal(sent))
		b.learn(0, 1, tag(4))
		end, enough := b.location(1), errors.New("enough")
		times := map[demux.Location]int{}
		times[begin]++
		times[end]--
		b.Expect(b.demux.ReadEvents(t.Context(), func(e demux.Event) error {
			times[e.From]--
			if times[e.To]++; e.To == end {
				return enough
			}
			return nil
		})).To(MatchError(enough))
		b.Expect(times).To(HaveEach(BeZero()), "came, less left, round %d", round)
		begin = end
	}
	b.Expect(b.counters().EventsLost).To(BeZero())
}
