package scenarios

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/demux/control"
	"github.com/vlandemux/vlandemux/harness"
)

// Policies has the demux do with frames what an operator can ask for.
func Policies() Scenario {
	return Scenario{
		Name:    "policies",
		Summary: "MACs without a worker go where they are told, and clients are where they may be and for as long as they send.",
		Cases: []Case{
			{
				Text: "leaves frames of unknown MACs to the host's stack",
				Topology: rackOf(2, func(t *harness.Topology) {
					t.Demux.Unknown = demux.UnknownPass
				}),
				Run: unknownMACs("passed"),
			},
			{
				Text: "gives frames of unknown MACs that are not too long to the default worker, which has no way back",
				Topology: rackOf(3, func(t *harness.Topology) {
					t.Clients = t.Clients[:2]
					t.Demux.Unknown, t.Workers[2].MTU = "w2", 1000
				}),
				Run: unknownMACs("forwarded"),
			},
			{
				Text:   "serves clients at their places alone, and reaches one that is silent",
				Labels: []string{"wrong-place"},
				Topology: rackOf(3, func(t *harness.Topology) {
					t.Trunks = 2
					other := t.Clients[0].Place
					other.Trunk = 1
					t.Clients[0].Allowed = []harness.Place{t.Clients[0].Place, other}
					t.Clients[1].Allowed = []harness.Place{t.Clients[1].Place}
				}),
				Run: wrongPlaces,
			},
			{
				Text:   "forgets where a client is that sends nothing, and learns it again",
				Labels: []string{"age"},
				Topology: rackOf(3, func(t *harness.Topology) {
					t.Demux.Age = time.Second
					t.Clients[2].Allowed = []harness.Place{t.Clients[2].Place}
				}),
				Run: silentClient,
			},
		},
	}
}

// wrongPlaces has c1 silent until it is spoken to, moves c0 to where it may be and to where it may not, and forges the MACs of both.
func wrongPlaces(ctx context.Context, r *Run) {
	const each = 20
	window := r.OpenWindow(ctx)
	c0, c1 := r.Lab.Topology.Clients[0], r.Lab.Topology.Clients[1]
	w0, w1 := r.WorkerOf(c0), r.WorkerOf(c1)
	r.Send(ctx, window, w1.Name, r.Batch("to the silent client", each, w1.MAC, c1.MAC), r.Batch("to all of w1", each, w1.MAC, broadcast()))
	r.Send(ctx, window, w0.Name, r.Batch("to a client that can be at two places", each, w0.MAC, c0.MAC))
	r.Await(ctx, window, map[string]uint64{"c1/eth0": 2 * each, "host/w0": each})
	for i, to := range []harness.Place{c0.Allowed[1], r.otherPlaces()[2], c0.Allowed[0]} {
		name := func(text string) string { return fmt.Sprintf("%s, move %d", text, i+1) }
		r.Check(r.Lab.Move(ctx, c0.Name, to))
		r.Send(ctx, window, c0.Name, r.Batch(name("from the mover"), each, c0.MAC, w0.MAC))
		r.Await(ctx, window, map[string]uint64{c0.Name + "/eth0": uint64(each * (i + 1))})
		r.Send(ctx, window, w0.Name, r.Batch(name("to the mover"), each, w0.MAC, c0.MAC), r.Batch(name("to all of w0"), each, w0.MAC, broadcast()))
	}
	other := c1.VLAN
	other.Protocol ^= harness.Dot1Q ^ harness.Dot1AD
	const slow = each * 3 / 4 // it takes more than a second: two events say so
	r.Check(window.Inject(ctx, 1, r.Batch("c1's MAC on the other trunk", each, c1.MAC, w1.MAC).Tagged(c1.VLAN.Tag(0)).Paced(slow)))
	r.Check(window.Inject(ctx, 0, r.Batch("c1's MAC on the VLAN of c0", each, c1.MAC, w1.MAC).Tagged(c0.VLAN.Tag(0)),
		r.Batch("c1's MAC on its VID of the other protocol", each, c1.MAC, w1.MAC).Tagged(other.Tag(0))))
	r.Send(ctx, window, c1.Name, r.Batch("from the client that was silent", each, c1.MAC, w1.MAC))
	r.Check(window.Inject(ctx, 0, r.Batch("with a priority", each, c1.MAC, w1.MAC).Tagged(c1.VLAN.Tag(5))))
	r.Close(ctx, window)
	refused := slices.IndexFunc(r.Counters(ctx).Drops, func(d control.DropCounter) bool { return d.Reason == "wrong_place" })
	r.Expect(r.Counters(ctx).Drops[refused].Packets).To(gomega.BeEquivalentTo(4 * each))
}

// unknownMACs sends frames of strangers, and from every worker to them, beside those of clients.
func unknownMACs(end string) func(context.Context, *Run) {
	return func(ctx context.Context, r *Run) {
		const each = 20
		window := r.Introduce(ctx)
		c0 := r.Lab.Topology.Clients[0]
		stranger := station(r.Seed.Rand("stranger"))
		tagged := func(name string, from, to harness.MAC, tag harness.Tag) harness.Batch {
			b := r.Batch(name, each, from, to).Tagged(tag)
			b.MaxSize = 1500
			return b
		}
		r.Check(window.Inject(ctx, 0,
			tagged("from a stranger", stranger, c0.MAC, c0.VLAN.Tag(0)),
			tagged("from a stranger elsewhere", stranger, broadcast(), harness.Tag{Protocol: harness.Dot1AD, TCI: 3<<13 | 77}),
			tagged("from a client", c0.MAC, stranger, c0.VLAN.Tag(0)),
			tagged("from a stranger on no VLAN", stranger, c0.MAC, harness.Tag{Protocol: harness.Dot1Q, TCI: 4095}),
		))
		for _, w := range r.Lab.Topology.Workers {
			r.Send(ctx, window, w.Name, r.Batch(w.Name+" to the stranger", each, w.MAC, stranger), r.Batch(w.Name+" to all", each, w.MAC, broadcast()))
		}
		ended := r.Close(ctx, window).Demux.Ended
		counters := r.Counters(ctx)
		got := map[string]uint64{"passed": counters.UnknownPassed.Packets, "forwarded": counters.UnknownForwarded.Packets}[end]
		r.Expect(got).NotTo(gomega.BeZero(), "frames of unknown MACs that were %s", end)
		r.Expect(got+ended["too_long"]).To(gomega.BeEquivalentTo(2*each), "frames of unknown MACs that were %s, or too long for who gets them", end)
	}
}
