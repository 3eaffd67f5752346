package scenarios

import (
	"context"
	"fmt"

	"github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"

	"github.com/vlandemux/vlandemux/harness"
)

// Hostile does what attackers do: it floods, claims another's MAC and addresses
// clients of others.
func Hostile() Scenario {
	return Scenario{
		Name:    "hostile",
		Summary: "Unknown sources, spoofed MACs and workers that address others' clients cost nobody else a frame, and are counted.",
		Cases: []Case{
			{
				Text:     "loses no frame of known clients while unknown sources flood the trunk",
				Labels:   []string{"flood-unknown"},
				Topology: rackOf(2),
				Run:      floodUnknown,
			},
			{
				Text:     "sends replies where a MAC was seen last, be it spoofed, and never to a worker of others",
				Labels:   []string{"spoof", "duplicate-mac"},
				Topology: rackOf(3),
				Run:      spoofed,
			},
		},
	}
}

func floodUnknown(ctx context.Context, r *Run) {
	const perBatch = 5_000
	total, rate := 100_000, 50_000 // frames, frames/s
	if r.Emulated && !r.Full {
		total, rate = 10_000, 5_000
		r.Step(fmt.Sprintf("scaled down: %d unknown sources and not 100,000, since the processors are emulated", total))
	}
	c0 := r.Lab.Topology.Clients[0]
	tag := c0.VLAN.Tag(0)
	known := map[harness.MAC]bool{}
	for _, c := range r.Lab.Topology.Clients {
		known[c.MAC] = true
	}
	w0, rng := r.WorkerOf(c0), r.Seed.Rand("unknown sources")
	window := r.Introduce(ctx)
	flooded := make(chan struct{})
	group, sending := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(flooded)
		for sent := 0; sent < total; sent += perBatch {
			var frames [][]byte
			for len(frames) < perBatch {
				mac := station(rng)
				if known[mac] {
					continue
				}
				known[mac] = true
				frames = append(frames, numbered(0, mac, w0.MAC, tag))
			}
			if err := window.Inject(sending, c0.Trunk, r.raw(fmt.Sprintf("unknown sources from %d on", sent), frames).Paced(rate)); err != nil {
				return err
			}
		}
		return nil
	})
	for _, c := range r.Lab.Topology.Clients {
		w := r.WorkerOf(c)
		for _, end := range []struct {
			node     string
			from, to harness.MAC
		}{{c.Name, c.MAC, w.MAC}, {w.Name, w.MAC, c.MAC}} {
			b := r.Batch(end.node+" meanwhile", 200, end.from, end.to).Paced(4_000)
			group.Go(func() error { return window.SendUntil(sending, flooded, pauses(b), end.node, b) })
		}
	}
	r.Check(group.Wait())
	verdict := r.Close(ctx, window)
	r.Expect(verdict.Demux.Ended).To(gomega.Equal(map[string]uint64{"unknown_client": uint64(total)}))
}

// spoofed lets a station on c1's VLAN send with c0's MAC, in turns with c0.
func spoofed(ctx context.Context, r *Run) {
	const turns, replies, foreign = 10, 5, 5
	t := r.Lab.Topology
	c0, c1 := t.Clients[0], t.Clients[1]
	w0, w2 := r.WorkerOf(c0), t.Workers[2]
	there := c1.VLAN.Tag(3)
	window := r.Introduce(ctx)
	arrived, back := uint64(1), uint64(len(t.Clients)) // at w0: its client's introduction; at the trunk: all
	for turn := range turns {
		name := func(what string) string { return fmt.Sprintf("%s, turn %d", what, turn+1) }
		claims := r.Batch(name("a stranger says it is c0"), 1, c0.MAC, w0.MAC).Tagged(there)
		for _, speak := range []func() error{
			func() error { return window.Inject(ctx, c1.Trunk, claims) },
			func() error { return window.Send(ctx, c0.Name, r.Batch(name("c0 itself"), 1, c0.MAC, w0.MAC)) },
		} {
			r.Check(speak())
			arrived, back = arrived+1, back+1
			r.Await(ctx, window, map[string]uint64{"w0/eth0": arrived})
			r.Send(ctx, window, w0.Name, r.Batch(name(fmt.Sprintf("reply after frame %d", arrived)), replies, w0.MAC, c0.MAC))
			r.Send(ctx, window, w2.Name, r.Batch(name(fmt.Sprintf("of another worker after frame %d", arrived)), foreign, w2.MAC, c0.MAC))
			arrived, back = arrived+replies, back+replies
			r.Await(ctx, window, map[string]uint64{"w0/eth0": arrived, "host/trunk0": back})
		}
	}
	verdict := r.Close(ctx, window)
	r.Expect(verdict.Demux.Ended).To(gomega.Equal(map[string]uint64{"not_assigned": 2 * turns * foreign}))

	r.Step("both send at once, and the worker answers and broadcasts all the while")
	const each, rate = 400, 4_000 // frames, frames/s of each sender
	window = r.OpenWindow(ctx)
	paced := func(name string, from, to harness.MAC) harness.Batch {
		return r.Batch(name, each, from, to).Paced(rate)
	}
	var group errgroup.Group
	group.Go(func() error { return window.Inject(ctx, c1.Trunk, paced("the stranger", c0.MAC, w0.MAC).Tagged(there)) })
	group.Go(func() error { return window.Send(ctx, c0.Name, paced("c0", c0.MAC, w0.MAC)) })
	group.Go(func() error { return window.Send(ctx, w0.Name, paced("replies to one of them", w0.MAC, c0.MAC)) })
	group.Go(func() error { return window.Send(ctx, w0.Name, paced("to all", w0.MAC, broadcast())) })
	r.Check(group.Wait())
	verdict = r.Close(ctx, window)
	r.Expect(verdict.Demux.Ended).To(gomega.BeEmpty(), "frames dropped")
}
