package scenarios

import (
	"context"
	"fmt"
	"time"

	"github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness"
)

// silentClient has c1 send one frame and no other until its location is forgotten, however much its worker sends to it,
// while c0 goes on sending. In the end all are silent, and c2, which can be at one place only, is the one that stays.
func silentClient(ctx context.Context, r *Run) {
	const each, rate = 10, 1_000 // frames/s
	clients := r.Lab.Topology.Clients
	c0, c1, c2 := clients[0], clients[1], clients[2]
	w0, w1, w2 := r.WorkerOf(c0), r.WorkerOf(c1), r.WorkerOf(c2)
	events := watched(ctx, r, r.Lab.Demux().Watch)
	located := map[harness.MAC]bool{c0.MAC: true, c1.MAC: true}
	wait := func(forgotten func() bool, meanwhile func()) {
		for tooLong := time.After(10 * r.Lab.Topology.Demux.Age); !forgotten(); {
			meanwhile()
			select {
			case e := <-events:
				located[e.MAC] = e.To != nil
			case <-tooLong:
				return // the ledger says so
			case <-time.After(time.Millisecond):
			}
		}
	}
	window := r.Introduce(ctx)
	r.Step("c1 is silent")
	rounds := 0
	wait(func() bool { return !located[c1.MAC] }, func() {
		rounds++
		r.Send(ctx, window, c0.Name, r.Batch(fmt.Sprintf("c0, round %d", rounds), each, c0.MAC, w0.MAC).Paced(rate))
		r.Send(ctx, window, w1.Name, r.Batch(fmt.Sprintf("to the silent client, round %d", rounds), 1, w1.MAC, c1.MAC))
	})
	const slow = rate / 10 // they take 100 ms: the demux and the taps have clocks of their own
	r.Send(ctx, window, w1.Name,
		r.Batch("to the client that is forgotten", each, w1.MAC, c1.MAC).Paced(slow), r.Batch("to all of w1", each, w1.MAC, broadcast()).Paced(slow))
	r.Check(window.Inject(ctx, c1.Trunk, r.Batch("from the client that was silent, with a priority", 1, c1.MAC, w1.MAC).Tagged(c1.VLAN.Tag(5))))
	r.Await(ctx, window, map[string]uint64{"w1/eth0": uint64(1 + rounds + 2*each + 1)})
	located[c1.MAC] = true
	r.Send(ctx, window, w1.Name, r.Batch("to the client that is learned again", each, w1.MAC, c1.MAC))
	r.Step("all are silent")
	wait(func() bool { return !located[c0.MAC] && !located[c1.MAC] }, func() {})
	r.Send(ctx, window, w0.Name, r.Batch("to c0, which is forgotten", each, w0.MAC, c0.MAC))
	r.Send(ctx, window, w2.Name, r.Batch("to c2, which can be nowhere else", each, w2.MAC, c2.MAC))
	verdict := r.Close(ctx, window)
	r.Expect(verdict.Demux.Ended["unlearned"]).To(gomega.BeNumerically(">=", 3*each), "frames to clients that are forgotten")
}

// watched gives what the demux tells from now on: events, or drops.
func watched[T any](ctx context.Context, r *Run, watch func(context.Context, func(), func(T) error) error) <-chan T {
	lines, ready := make(chan T), make(chan error, 2)
	go func() {
		ready <- watch(ctx, func() { ready <- nil }, func(line T) error {
			select {
			case lines <- line:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	r.Check(<-ready)
	return lines
}
