package control_test

import (
	"context"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/demux/control"
)

func dropped(n int) demux.Drop {
	return demux.Drop{
		Reason: 3, MAC: moved(n).MAC, Interface: 2, Place: moved(1).From, Packets: 7, Time: moved(1).Time,
	}
}

// watchDrops reads drops in the background. It returns once they are told.
func watchDrops(ctx context.Context, t *testing.T, client *control.Client) (<-chan control.Drop, <-chan error) {
	t.Helper()
	drops, ended, ready := make(chan control.Drop, 10), make(chan error, 1), make(chan struct{})
	go func() {
		ended <- client.WatchDrops(ctx, func() { close(ready) }, func(d control.Drop) error {
			drops <- d
			return nil
		})
	}()
	NewWithT(t).Eventually(ready, patience).Should(BeClosed())
	return drops, ended
}

// The dataplane tells of drops once for all watchers, and only while there is one.
func TestDropsAreToldWhileSomebodyWatches(t *testing.T) {
	g := NewWithT(t)
	plane := newFakePlane(4)
	socket, _ := serve(t, plane)
	client := dial(t, socket)
	want := control.Drop{
		Type: "dropped", MAC: parse("02:00:00:00:00:01"), Reason: "unknown_client", Interface: "eth1",
		Place: &control.Location{Trunk: "eth1", TrunkIndex: 2, Protocol: "802.1Q", VID: 12}, Packets: 7, Time: moved(1).Time,
	}
	for range 2 {
		g.Expect(plane.reading.Load()).To(BeZero())
		ctx, cancel := context.WithCancel(t.Context())
		one, _ := watchDrops(ctx, t, client)
		otherCtx, cancelOther := context.WithCancel(t.Context())
		other, _ := watchDrops(otherCtx, t, client)
		g.Expect(plane.reading.Load()).To(BeEquivalentTo(1))
		plane.drops <- dropped(1)
		g.Eventually(one, patience).Should(Receive(Equal(want)))
		g.Eventually(other, patience).Should(Receive(Equal(want)))
		cancel()
		plane.drops <- dropped(1)
		g.Eventually(other, patience).Should(Receive(Equal(want)), "one that leaves takes nothing from the rest")
		cancelOther()
		g.Eventually(plane.reading.Load, patience).Should(BeZero())
	}
}

func TestWatchersOfDropsAreToldWhyTheyEnd(t *testing.T) {
	g := NewWithT(t)
	plane := newFakePlane(4)
	socket, stop := serve(t, plane)
	client := dial(t, socket)
	_, ended := watchDrops(t.Context(), t, client)
	g.Expect(stop()).To(Succeed())
	g.Eventually(ended, patience).Should(Receive(MatchError(control.ErrStopping)))
	g.Eventually(plane.reading.Load, patience).Should(BeZero())

	plane = newFakePlane(4)
	socket, _ = serve(t, plane)
	_, ended = watchDrops(t.Context(), t, dial(t, socket))
	close(plane.drops)
	g.Eventually(ended, patience).Should(Receive(MatchError(ContainSubstring("the ring buffer broke"))))
}

// A client in two places at a time moves with every frame: who asks for it gets one event a second, which says how many
// there were, and those of other clients at once.
func TestEventsOfAClientAreMerged(t *testing.T) {
	g := NewWithT(t)
	plane := newFakePlane(4)
	socket, _ := serve(t, plane)
	events, ready := make(chan control.Event, 100), make(chan struct{})
	go func() {
		_ = dial(t, socket).WatchMerged(t.Context(), func() { close(ready) }, func(e control.Event) error { events <- e; return nil })
	}()
	g.Eventually(ready, patience).Should(BeClosed())
	begin := time.Now()
	const moves = 2001
	there := moved(1)
	back := demux.Event{Type: there.Type, MAC: there.MAC, From: there.To, To: there.From, Time: there.Time}
	for n := range moves {
		plane.events <- []demux.Event{there, back}[n%2]
		if n == 1000 {
			plane.events <- moved(2)
		}
	}
	var total, lines int
	var last *control.Location
	for total < moves {
		var e control.Event
		g.Eventually(events, patience).Should(Receive(&e))
		if e.MAC == moved(2).MAC {
			g.Expect(e.Merged).To(BeZero())
			g.Expect(total).To(BeNumerically("<", moves), "it came at once")
			continue
		}
		if lines > 0 {
			g.Expect(e.From).To(Equal(last), "one goes on where the one before it ended")
		}
		g.Expect(e.Type).To(Equal("moved"))
		last = e.To
		total += max(e.Merged, 1)
		lines++
	}
	g.Expect(total).To(Equal(moves))
	plane.events <- back
	var e control.Event
	g.Eventually(events, patience).Should(Receive(&e))
	g.Expect(e).To(Equal(control.Event{Type: "moved", MAC: there.MAC, From: last, To: e.To, Time: there.Time}), "nothing is merged with one alone")
	g.Expect(last.VID).To(BeEquivalentTo(there.To.VID()))
	g.Expect(lines).To(And(BeNumerically(">=", 2), BeNumerically("<=", 1+int(time.Since(begin)/time.Second))))
}
