package scenarios

import (
	"context"
	"errors"

	"github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/harness"
)

// RedirectPeer has the demux hand frames to the other ends of workers' veths.
func RedirectPeer() Scenario {
	return Scenario{
		Name:    "redirect peer",
		Summary: "Frames go past the host's ends of workers' veths, and each arrives as if it had crossed them.",
		Cases: []Case{{
			Text: "delivers frames of every kind, over restarts and upgrades, and to a worker in the host's namespace on its interface",
			Topology: rackOf(3, func(t *harness.Topology) {
				t.Demux.Redirect, t.Demux.Unknown = demux.RedirectPeer, "w1"
				for i := range 2 {
					t.Clients[i].Offloads, t.Workers[i].Offloads = true, i == 0 // nobody makes frames of super-packets for w1
				}
				t.Workers[2].InHost, t.Workers[2].Addresses = true, nil
			}),
			Run: redirectPeer,
		}},
	}
}

func redirectPeer(ctx context.Context, r *Run) {
	t := r.Lab.Topology
	window := r.Introduce(ctx)
	status, err := r.Lab.Demux().Status(ctx)
	r.Check(err)
	for _, w := range status.Workers {
		r.Expect(w.Peer).To(gomega.Equal(w.Name != "w2"), "frames for %s go past its interface", w.Name)
	}
	r.Step("super-packets, frames of all sizes, to all and to others")
	sendSuperPackets(ctx, r, window, superPacket{family: IPv4, protocol: harness.TCP, segments: 20})
	sendSuperPackets(ctx, r, window, superPacket{family: IPv4, protocol: harness.TCP, segments: 20, tagged: true})
	for _, c := range t.Clients {
		w := r.WorkerOf(c)
		r.Send(ctx, window, c.Name, sized(r.Batch("from "+c.Name, 0, c.MAC, w.MAC), 50), r.Batch(c.Name+" to all", 20, c.MAC, broadcast()),
			r.Batch(c.Name+" to a stranger", 20, c.MAC, station(r.Seed.Rand("stranger"))))
		r.Send(ctx, window, w.Name, sized(r.Batch("from "+w.Name, 0, w.MAC, c.MAC), 50))
	}
	r.Step("vlandemux is killed, and replaced by one with other maps, under traffic")
	r.talkTo(ctx, window, "over restarts", t.Clients, t.Workers, func(ctx context.Context) error {
		return errors.Join(r.Lab.RestartDemux(ctx, "KILL", nil), r.Lab.UpgradeDemux(ctx, "TERM", 500))
	})
	r.Check(window.Inject(ctx, 0, sized(r.Batch("from a stranger", 0, station(r.Seed.Rand("stranger")), t.Workers[0].MAC), 20).Tagged(t.Clients[0].VLAN.Tag(5))))
	r.Close(ctx, window)
	r.Step("real datagrams and TCP streams")
	window = r.OpenWindow(ctx)
	window.AllowSockets()
	var group errgroup.Group
	for _, c := range t.Clients[:2] {
		group.Go(func() error { return r.acceptsAll(ctx, c, IPv4) })
	}
	r.Check(group.Wait())
	r.Close(ctx, window)
}
