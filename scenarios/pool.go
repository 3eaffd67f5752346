package scenarios

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/vlandemux/vlandemux/harness"
)

// Pool has more clients than workers, on one VLAN and on several, behind three trunks.
func Pool() Scenario {
	return Scenario{
		Name:    "pool",
		Summary: "Workers with several clients each, on one VLAN, on several and on three trunks, reach each of theirs and no other's.",
		Cases: []Case{
			{
				Text:     "serves seven clients with two workers behind three trunks",
				Labels:   []string{"pool"},
				Topology: pooled,
				Run:      pool,
			},
			{
				Text:     "serves clients whose workers are a TAP device, a macvlan, a bridge's port, an IFB and a veth",
				Labels:   []string{"tap-worker"},
				Topology: kinds,
				Run:      otherKinds,
			},
		},
	}
}

// pooled gives w0 the clients c0, c2, c4 and c6, and w1 the others. c2 is on the VLAN
// of c0; c1 too, for w1. c4 and c5 have that VLAN on the second trunk; c3 and, on the third, c6
// have VLANs of their own.
func pooled(v Variant) harness.Topology {
	t := rack(v, 7)
	t.Trunks, t.Workers = 3, t.Workers[:2]
	for i := range t.Clients {
		t.Clients[i].Worker = t.Workers[i%2].Name
	}
	for _, i := range []int{1, 2, 4, 5} {
		t.Clients[i].VLAN = t.Clients[0].VLAN
		t.Clients[i].Trunk = i / 4
	}
	t.Clients[6].Trunk = 2
	return t
}

func pool(ctx context.Context, r *Run) {
	const each = 25
	t := r.Lab.Topology
	window := r.OpenWindow(ctx)
	r.Step("each worker addresses clients that have not said a word")
	for _, w := range t.Workers {
		for _, c := range t.Clients {
			r.Send(ctx, window, w.Name, r.Batch(w.Name+" to silent "+c.Name, 2, w.MAC, c.MAC))
		}
		r.Send(ctx, window, w.Name, r.Batch(w.Name+" to all, silent", 2, w.MAC, broadcast()))
	}
	r.Step("clients speak one after the other, and each worker addresses all after each")
	arrived := map[string]uint64{}
	for _, w := range t.Workers {
		arrived[w.Name+"/eth0"] = 2*uint64(len(t.Clients)) + 2
	}
	for _, c := range t.Clients {
		r.Send(ctx, window, c.Name, sized(r.Batch("from "+c.Name, 0, c.MAC, r.WorkerOf(c).MAC), each))
		arrived[c.Worker+"/eth0"] += each
		r.Await(ctx, window, arrived)
		for _, w := range t.Workers {
			for _, to := range t.Clients {
				r.Send(ctx, window, w.Name, sized(r.Batch(w.Name+" to "+to.Name+" after "+c.Name, 0, w.MAC, to.MAC), 5))
			}
			r.Send(ctx, window, w.Name, r.Batch(w.Name+" to all after "+c.Name, 2, w.MAC, broadcast()))
			arrived[w.Name+"/eth0"] += 5*uint64(len(t.Clients)) + 2
		}
		r.Await(ctx, window, arrived)
	}
	r.Close(ctx, window)
}

func kinds(v Variant) harness.Topology {
	t := rack(v, 5)
	for i, kind := range []string{harness.WorkerTAP, harness.WorkerMACVLAN, harness.WorkerBridgePort, harness.WorkerIFB} {
		t.Workers[i].Kind = kind
	}
	return t
}

func otherKinds(ctx context.Context, r *Run) {
	const rounds, each, rate = 8, 25, 5_000 // frames, frames/s
	window := r.Introduce(ctx)
	passed := map[string]uint64{}
	for _, c := range r.Lab.Topology.Clients {
		passed[c.Name+"/eth0"], passed[c.Worker+"/eth0"] = 1, 1 // its introduction
	}
	for round := range rounds { // the cable between TAP devices is a program: it is not to have much to carry at once
		var group errgroup.Group
		for i, c := range r.Lab.Topology.Clients {
			w := r.WorkerOf(c)
			send := func(node string, from, to harness.MAC) {
				b := sized(r.Batch(fmt.Sprintf("%s to %s, round %d", node, to, round+1), 0, from, to), each).Paced(rate)
				passed[c.Name+"/eth0"] += each
				passed[w.Name+"/eth0"] += each
				group.Go(func() error { return window.Send(ctx, node, b) })
			}
			send(c.Name, c.MAC, w.MAC)
			send(c.Name, c.MAC, broadcast())
			send(w.Name, w.MAC, c.MAC)
			if i != 1 { // what a macvlan's worker sends to a group, the host hears too
				send(w.Name, w.MAC, broadcast())
			}
		}
		r.Check(group.Wait())
		r.Await(ctx, window, passed)
	}
	r.Close(ctx, window)
}
