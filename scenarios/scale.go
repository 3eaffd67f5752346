package scenarios

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/harness"
)

// Scale fills the demux with clients on as many VLANs as there are.
func Scale() Scenario {
	return Scenario{
		Name:    "scale",
		Summary: "A full table of clients, on every VLAN there is at its full size, is served without a mistake, and takes no client more.",
		Cases: []Case{
			{
				Text:   "serves as many clients as fit, on as many VLANs",
				Labels: []string{"vlans-4094", "clients-4096", "full-map"},
				Topology: func(v Variant) harness.Topology {
					t := rack(v, 2)
					t.Demux.Capacity = len(t.Clients) + v.crowdSize()
					return t
				},
				Run: scale,
			},
			{
				Text:   "counts the copies that the kernel's backlog has no room for as lost, and no others",
				Labels: []string{"overload"},
				Topology: rackOf(1, func(t *harness.Topology) {
					t.Workers[0].Addresses = nil
				}),
				Run: overload,
			},
		},
	}
}

// crowdSize is how many clients without containers there are: with the two that have one, 4096.
func (v Variant) crowdSize() int {
	if v.Full {
		return maxVID
	}
	return 254
}

func scale(ctx context.Context, r *Run) {
	const mostCopies = 500   // of a group frame: the kernel's queue to another device holds 1,000 frames (net.core.netdev_max_backlog)
	const perBatch = 256     // frames
	const perSecond = 20_000 // frames
	size, t := r.crowdSize(), r.Lab.Topology
	if !r.Full {
		r.Step(fmt.Sprintf("scaled down: %d clients and VLANs and not %d (FULL=1)", size, maxVID))
	}
	rng := r.Seed.Rand("scale")
	members := members(rng, t, size)
	begun := time.Now()
	r.assignAll(ctx, members)
	assigned := time.Now()
	err := r.Lab.Assign(ctx, station(rng), t.Workers[0].Name)
	r.Expect(err).To(gomega.MatchError(demux.ErrFull), "one client more")

	window := r.Introduce(ctx)
	arrived := map[string]uint64{}
	for _, w := range t.Workers {
		arrived[w.Name+"/eth0"] = 1 // its client's introduction
	}
	r.Step("each client is seen on its VLAN, and answered")
	for first := 0; first < len(members); first += perBatch {
		some := members[first:min(first+perBatch, len(members))]
		var up [][]byte
		down := map[string][][]byte{}
		for _, m := range some {
			up = append(up, r.drawn(rng, m.mac, m.worker.MAC, m.tag))
			down[m.worker.Name] = append(down[m.worker.Name], r.drawn(rng, m.worker.MAC, m.mac))
			arrived[m.worker.Name+"/eth0"]++
		}
		r.Check(window.Inject(ctx, 0, r.raw(fmt.Sprintf("from clients %d on", first), up).Paced(perSecond)))
		r.Await(ctx, window, arrived)
		for _, w := range t.Workers {
			r.Send(ctx, window, w.Name, r.raw(fmt.Sprintf("%s to clients %d on", w.Name, first), down[w.Name]).Paced(perSecond))
			arrived[w.Name+"/eth0"] += uint64(len(down[w.Name]))
		}
		r.Await(ctx, window, arrived)
	}
	if size/len(t.Workers) <= mostCopies {
		r.Step("each worker addresses all of its clients at once")
		for _, w := range t.Workers {
			r.Send(ctx, window, w.Name, r.Batch("broadcast of "+w.Name, 1, w.MAC, broadcast()))
		}
	}
	answered := time.Now()
	memory, err := r.Lab.DemuxMemory(ctx)
	r.Check(err)
	r.Step(fmt.Sprintf("%d clients: assigned in %.2f s, seen and answered in %.2f s; vlandemux has %.0f MiB of memory",
		size, assigned.Sub(begun).Seconds(), answered.Sub(assigned).Seconds(), memory/(1<<20)))
	verdict := r.Close(ctx, window)
	r.Expect(verdict.Demux.Ended).To(gomega.BeEmpty(), "frames dropped")
}

func (r *Run) assignAll(ctx context.Context, members []member) {
	workers := map[harness.MAC]string{}
	for _, m := range members {
		workers[m.mac] = m.worker.Name
	}
	r.Check(r.Lab.AssignAll(ctx, workers))
}

// overload floods one frame to more places than the kernel's queue to another device
// holds: what is lost must be told, by the demux and by the ledger.
func overload(ctx context.Context, r *Run) {
	const size, perBatch, perSecond = 1500, 250, 20_000 // places; frames, frames/s
	w0 := r.Lab.Topology.Workers[0]
	rng := r.Seed.Rand("overload")
	members := members(rng, r.Lab.Topology, size)
	r.assignAll(ctx, members)
	window := r.OpenWindow(ctx)
	for first := 0; first < size; first += perBatch {
		var frames [][]byte
		for _, m := range members[first : first+perBatch] {
			frames = append(frames, r.drawn(rng, m.mac, w0.MAC, m.tag))
		}
		r.Check(window.Inject(ctx, 0, r.raw(fmt.Sprintf("from members %d on", first), frames).Paced(perSecond)))
		r.Await(ctx, window, map[string]uint64{"w0/eth0": uint64(first + perBatch)})
	}
	r.Close(ctx, window)
	window = r.OpenWindow(ctx)
	r.Send(ctx, window, w0.Name, r.Batch("broadcast to all", 1, w0.MAC, broadcast()))
	verdict, err := window.Close(ctx)
	r.Check(err)
	fmt.Fprintln(r.Out, verdict.Err())
	var failed uint64
	for _, d := range r.Counters(ctx).Drops {
		if d.Reason == "copy_failed" {
			failed = d.Packets
		}
	}
	r.Expect(failed).To(gomega.BeNumerically(">", 0), "copies that failed")
	r.Expect(verdict.Sides).To(gomega.HaveLen(1), "where frames are missing: %v", verdict.Err())
	r.Expect(verdict.Sides[0].Missing).To(gomega.BeEquivalentTo(failed), "copies that are missing at %s: %v", verdict.Sides[0].Tap, verdict.Err())
}

// members are clients without containers, each on a VLAN of its own: of all that there are, the first.
func members(rng *rand.Rand, t harness.Topology, size int) []member {
	taken := map[harness.MAC]bool{}
	for _, c := range t.Clients {
		taken[c.MAC] = true
	}
	all := make([]member, 0, size)
	for len(all) < size {
		mac := station(rng)
		if taken[mac] {
			continue
		}
		taken[mac] = true
		vid := uint16(len(all) + 1)
		all = append(all, member{mac: mac, tag: harness.Tag{Protocol: harness.Dot1Q, TCI: vid}, worker: t.Workers[len(all)%len(t.Workers)]})
	}
	return all
}
