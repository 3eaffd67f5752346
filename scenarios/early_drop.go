package scenarios

import (
	"context"
	"fmt"

	"github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/harness"
)

// EarlyDrop has the demux drop frames of unknown MACs in the trunk's driver.
func EarlyDrop() Scenario {
	return Scenario{
		Name:    "early drop",
		Summary: "Frames of unknown MACs are dropped before the kernel makes packets of them, and counted all the same.",
		Cases: []Case{{
			Text: "drops floods of unknown sources in the trunk's driver, over restarts and upgrades, and leaves all else to tc",
			Topology: rackOf(2, func(t *harness.Topology) {
				t.Demux.EarlyDrop = demux.EarlyDropXDP
			}),
			Run: earlyDrop,
		}},
	}
}

// earlyDrop floods and talks in turns: a veth with a program in its driver is polled by whichever processor sends, and does
// not keep the order between two of them.
func earlyDrop(ctx context.Context, r *Run) {
	const each, broken, rate = 2_000, 20, 5_000 // rate in frames/s
	c0, rng := r.Lab.Topology.Clients[0], r.Seed.Rand("unknown sources")
	w0 := r.WorkerOf(c0)
	window := r.Introduce(ctx)
	arrived := uint64(1)
	flood := func(when string) {
		status, err := r.Lab.Demux().Status(ctx)
		r.Check(err)
		r.Expect(status.Trunks[0].EarlyDrop).To(gomega.BeTrue(), "the driver drops frames of unknown MACs %s", when)
		var frames [][]byte
		for range each {
			frames = append(frames, numbered(0, station(rng), w0.MAC, c0.VLAN.Tag(0)))
		}
		one := sized(r.Batch("of one stranger "+when, 0, station(rng), broadcast()), each)
		r.Check(window.Inject(ctx, 0, r.raw("unknown sources "+when, frames).Paced(rate),
			one.Tagged(harness.Tag{Protocol: harness.Dot1AD, TCI: 3<<13 | 77}, harness.Tag{Protocol: harness.Dot1Q, TCI: 9}).Paced(rate),
			r.Batch("of a stranger on no VLAN "+when, broken, station(rng), w0.MAC).Tagged(harness.Tag{Protocol: harness.Dot1Q, TCI: 4095}),
			r.Batch("of a stranger without a tag "+when, broken, station(rng), w0.MAC)))
		r.Check(window.Inject(ctx, 0, r.Batch("of c0 behind it "+when, 1, c0.MAC, w0.MAC).Tagged(c0.VLAN.Tag(0))))
		arrived++
		r.Await(ctx, window, map[string]uint64{"w0/eth0": arrived})
	}
	talk := func(when string) {
		for _, c := range r.Lab.Topology.Clients {
			w := r.WorkerOf(c)
			r.Send(ctx, window, c.Name, sized(r.Batch(fmt.Sprintf("from %s %s", c.Name, when), 0, c.MAC, w.MAC), 50))
			r.Send(ctx, window, w.Name, sized(r.Batch(fmt.Sprintf("from %s %s", w.Name, when), 0, w.MAC, c.MAC), 50))
		}
		arrived += 50
		r.Await(ctx, window, map[string]uint64{"w0/eth0": arrived})
	}
	times := []string{"at first", "after a restart", "after an upgrade"}
	for i, when := range times {
		switch i {
		case 1:
			r.Check(r.Lab.RestartDemux(ctx, "KILL", nil))
		case 2:
			r.Check(r.Lab.UpgradeDemux(ctx, "TERM", 500))
		}
		flood(when)
		talk(when)
	}
	n := uint64(len(times))
	r.Expect(r.Close(ctx, window).Demux.Ended).To(gomega.Equal(map[string]uint64{
		"unknown_client": n * 2 * each, "invalid_vlan": n * broken, "untagged": n * broken,
	}))
}
