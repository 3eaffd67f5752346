package scenarios

import (
	"context"

	"github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness"
)

// WorkerEnd kills a worker's container in mid-flow and puts another into its place.
func WorkerEnd() Scenario {
	return Scenario{
		Name:    "worker end",
		Summary: "When a worker's container is killed, its clients have no worker and nobody else notices; another one under its name serves them.",
		Labels:  []string{"worker-killed", "worker-replaced"},
		Cases: []Case{{
			Text: "loses no frame of others when a worker is killed in mid-flow, and serves its clients again when it is replaced",
			Topology: rackOf(4, func(t *harness.Topology) {
				t.Clients[3].Worker = "w0"
			}),
			Run: workerEnd,
		}},
	}
}

func workerEnd(ctx context.Context, r *Run) {
	t := r.Lab.Topology
	c0, w0 := t.Clients[0], t.Workers[0]
	r.Close(ctx, r.Introduce(ctx))
	r.Step("w0 is killed while its clients and all others send")
	window := r.OpenWindow(ctx)
	r.talkTo(ctx, window, "killing", t.Clients, t.Workers[1:3], func(ctx context.Context) error {
		return r.Lab.KillWorker(ctx, w0.Name)
	})
	r.Send(ctx, window, c0.Name, r.Batch("to nobody", 20, c0.MAC, w0.MAC), r.Batch("to all, but nobody", 20, c0.MAC, broadcast()))
	// Nothing is learned from what is dropped: c0 stays where it was.
	other := t.Clients[1]
	pcp := uint16(r.Seed.Rand("PCP").IntN(8))
	r.Check(window.Inject(ctx, other.Trunk, r.Batch("to nobody from c1's VLAN", 5, c0.MAC, w0.MAC).Tagged(other.VLAN.Tag(pcp))))
	verdict := r.Close(ctx, window)
	r.Expect(verdict.Demux.Ended["no_worker"]).To(gomega.BeNumerically(">=", 45), "frames without a worker")
	r.Step("another container is put into its place")
	r.Check(r.Lab.ReplaceWorker(ctx, w0.Name))
	window = r.OpenWindow(ctx)
	r.talkTo(ctx, window, "replaced", t.Clients, t.Workers[:3], nil)
	verdict = r.Close(ctx, window)
	r.Expect(verdict.Demux.Ended).To(gomega.BeEmpty(), "frames dropped")
}
