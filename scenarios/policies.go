package scenarios

import (
	"context"

	"github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/harness"
)

// Policies has the demux do with frames what an operator can ask for.
func Policies() Scenario {
	return Scenario{
		Name:    "policies",
		Summary: "MACs without a worker go where they are told.",
		Cases: []Case{
			{
				Text: "leaves frames of unknown MACs to the host's stack",
				Topology: func(v Variant) harness.Topology {
					t := rack(v, 2)
					t.Demux.Unknown = demux.UnknownPass
					return t
				},
				Run: unknownMACs("passed"),
			},
			{
				Text: "gives frames of unknown MACs to the default worker, which has no way back",
				Topology: func(v Variant) harness.Topology {
					t := rack(v, 3)
					t.Clients = t.Clients[:2]
					t.Demux.Unknown = "w2"
					return t
				},
				Run: unknownMACs("forwarded"),
			},
		},
	}
}

// unknownMACs sends frames of strangers, and from every worker to them, beside those of clients.
func unknownMACs(end string) func(context.Context, *Run) {
	return func(ctx context.Context, r *Run) {
		const each = 20
		window := r.Introduce(ctx)
		c0 := r.Lab.Topology.Clients[0]
		stranger := station(r.Seed.Rand("stranger"))
		tagged := func(b harness.Batch, protocol, tci uint16) harness.Batch {
			b.Tags, b.Size, b.MaxSize = []harness.Tag{{Protocol: protocol, TCI: tci}}, 64, 1500
			return b
		}
		r.Check(window.Inject(ctx, 0,
			tagged(r.Batch("from a stranger", each, stranger, c0.MAC), c0.VLAN.Protocol, c0.VLAN.VID),
			tagged(r.Batch("from a stranger elsewhere", each, stranger, broadcast()), harness.Dot1AD, 3<<13|77),
			tagged(r.Batch("from a client", each, c0.MAC, stranger), c0.VLAN.Protocol, c0.VLAN.VID),
			tagged(r.Batch("from a stranger on no VLAN", each, stranger, c0.MAC), harness.Dot1Q, 4095),
		))
		for _, w := range r.Lab.Topology.Workers {
			r.Send(ctx, window, w.Name, r.Batch(w.Name+" to the stranger", each, w.MAC, stranger), r.Batch(w.Name+" to all", each, w.MAC, broadcast()))
		}
		r.Close(ctx, window)
		counters := r.Counters(ctx)
		got := map[string]uint64{"passed": counters.UnknownPassed.Packets, "forwarded": counters.UnknownForwarded.Packets}[end]
		r.Expect(got).To(gomega.BeEquivalentTo(2*each), "frames of unknown MACs that were %s", end)
	}
}
