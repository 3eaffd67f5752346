package scenarios

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"

	"github.com/vlandemux/vlandemux/harness"
)

// MACMove plugs clients into other VLANs while they are idle, busy and
// restless. What a move costs is named frame by frame in the ledger.
func MACMove() Scenario {
	return Scenario{
		Name:    "MAC move",
		Summary: "A client that changes VLAN is found again with its first frame, and no reply leaves on its old VLAN after that.",
		Cases: []Case{
			{
				Text:     "finds an idle client again with its first frame",
				Topology: movers,
				Run:      idleMove,
			},
			{
				Text:     "keeps a TCP connection alive when the client changes VLAN in the middle of a download",
				Families: []Family{IPv4, IPv6},
				Topology: movers,
				Run:      downloadMove,
			},
			{
				Text:     "follows a client that moves 200 times under load",
				Topology: movers,
				Run:      pingPong,
			},
			{
				Text:     "keeps two clients apart when one is plugged into the VLAN of the other",
				Labels:   []string{"inhabited-vlan"},
				Topology: movers,
				Run:      inhabitedMove,
			},
			{
				Text:     "follows two clients that swap their VLANs",
				Labels:   []string{"swap"},
				Topology: movers,
				Run:      swapped,
			},
			{
				Text:     "follows two clients that move at the same time",
				Labels:   []string{"two-movers"},
				Topology: movers,
				Run:      twoMovers,
			},
			{
				Text:     "follows two clients that move while vlandemux is killed, started again and upgraded",
				Labels:   []string{"move-during-upgrade"},
				Topology: movers,
				Run:      restartedMoves,
			},
			{
				Text:     "follows a client to the other trunk when its own goes down, and back",
				Labels:   []string{"trunk-down"},
				Topology: movers,
				Run:      trunkDown,
			},
		},
	}
}

// movers has two trunks; c0 is the one that moves, c1 stays where it is and
// shares its worker.
func movers(v Variant) harness.Topology {
	t := rack(v, 3)
	t.Trunks = 2
	t.Clients[1].Worker = t.Clients[0].Worker
	return t
}

// otherPlaces are VLANs no client of the rack is on, drawn from the seed: one VID
// under both protocols and on both trunks, and another one.
func (r *Run) otherPlaces() []harness.Place {
	taken := map[uint16]bool{}
	for _, c := range r.Lab.Topology.Clients {
		taken[c.VLAN.VID] = true
	}
	rng := r.Seed.Rand("other places")
	draw := func() uint16 {
		for {
			if vid := uint16(1 + rng.IntN(maxVID)); !taken[vid] {
				taken[vid] = true
				return vid
			}
		}
	}
	one, another := draw(), draw()
	return []harness.Place{
		{Trunk: 0, VLAN: harness.VLAN{Protocol: harness.Dot1Q, VID: one}},
		{Trunk: 0, VLAN: harness.VLAN{Protocol: harness.Dot1AD, VID: one}},
		{Trunk: 1, VLAN: harness.VLAN{Protocol: harness.Dot1Q, VID: one}},
		{Trunk: 1, VLAN: harness.VLAN{Protocol: harness.Dot1AD, VID: another}},
	}
}

func idleMove(ctx context.Context, r *Run) {
	r.Close(ctx, r.Introduce(ctx))
	c0, c1 := r.Lab.Topology.Clients[0], r.Lab.Topology.Clients[1]
	w0 := r.WorkerOf(c0)
	places := r.otherPlaces()
	for i, to := range append(places, c1.Place, places[0]) { // with one that it shares with c1 for a while
		r.Step(fmt.Sprintf("the idle client is plugged into %s", to))
		window := r.OpenWindow(ctx)
		r.Check(r.Lab.Move(ctx, c0.Name, to))
		name := func(text string) string { return fmt.Sprintf("%s, move %d", text, i+1) }
		r.Send(ctx, window, w0.Name, r.Batch(name("too early"), 3, w0.MAC, c0.MAC))
		r.Send(ctx, window, c0.Name, r.Batch(name("first frame"), 1, c0.MAC, w0.MAC))
		r.Await(ctx, window, map[string]uint64{w0.Name + "/eth0": 3 + 1})
		r.Send(ctx, window, w0.Name,
			r.Batch(name("reply"), 5, w0.MAC, c0.MAC),
			r.Batch(name("reply to who shares the worker"), 5, w0.MAC, c1.MAC),
			r.Batch(name("broadcast"), 5, w0.MAC, broadcast()))
		verdict := r.Close(ctx, window)
		r.Expect(verdict.Costs).To(gomega.HaveLen(3), "frames lost: those sent before the client had sent anything, and no other")
	}
}

func downloadMove(ctx context.Context, r *Run) {
	const octets, rate = 8 << 20, 8 << 20 // octets/s: one second
	c0 := r.Lab.Topology.Clients[0]
	w0 := r.WorkerOf(c0)
	remote := netip.AddrPortFrom(workerPrefix(r.Family).Addr(), 8000)
	server, err := r.Lab.Worker(w0.Name).ServeHTTP(ctx, harness.HTTPServeRequest{Listen: remote, Name: w0.Name}, nil)
	r.Check(err)
	window := r.OpenWindow(ctx)
	window.AllowSockets()

	progress := make(chan uint64, 1024)
	var group errgroup.Group
	var report harness.TCPReport
	group.Go(func() (err error) {
		defer close(progress)
		report, err = r.Lab.Client(c0.Name).TCP(ctx, harness.TCPRequest{
			Remote: remote, Mode: harness.Download, Octets: octets, Rate: rate, Seed: uint64(r.Seed),
		}, func(p harness.TCPProgress) { progress <- p.Octets })
		return err
	})
	places := r.otherPlaces()
	for i, to := range places {
		for got := range progress {
			if got >= uint64(octets*(i+1)/(len(places)+1)) {
				break
			}
		}
		r.Step(fmt.Sprintf("the client is plugged into %s with the download under way", to))
		r.Check(r.Lab.Move(ctx, c0.Name, to))
		// A client that only listens would wait for ever: the data it has to
		// acknowledge goes where it was. Whatever it says first finds it again.
		r.Send(ctx, window, c0.Name, r.Batch(fmt.Sprintf("announcement after move %d", i+1), 1, c0.MAC, broadcast()))
	}
	for range progress { // to the end
	}
	r.Check(group.Wait())
	r.Check(server.Close())
	r.Expect(report.Received).To(gomega.Equal(uint64(octets)))
	r.Close(ctx, window)
	fmt.Fprintf(r.Out, "%d octets in %s over one connection\n", report.Received, report.Elapsed)
}

func pingPong(ctx context.Context, r *Run) {
	const moves, perMove, rate = 200, 30, 6_000 // frames each way a move, frames/s
	window := r.Introduce(ctx)
	c0 := r.Lab.Topology.Clients[0]
	w0 := r.WorkerOf(c0)
	home := c0.Place
	away := r.otherPlaces()[0]
	r.Step(fmt.Sprintf("%d moves, with %d frames/s each way", moves, rate))
	for i := range moves {
		to := []harness.Place{away, home}[i%2]
		load := func(text, node string, source, destination harness.MAC) func() error {
			b := r.Batch(fmt.Sprintf("%s during move %d", text, i+1), perMove, source, destination).Paced(rate)
			return func() error { return window.Send(ctx, node, b) }
		}
		var group errgroup.Group
		group.Go(load("client", c0.Name, c0.MAC, w0.MAC))
		group.Go(load("worker", w0.Name, w0.MAC, c0.MAC))
		group.Go(func() error {
			if err := r.Lab.Move(ctx, c0.Name, to); err != nil {
				return err
			}
			// However the load and the move raced, this one is from the new VLAN.
			return window.Send(ctx, c0.Name, r.Batch(fmt.Sprintf("arrival of move %d", i+1), 1, c0.MAC, w0.MAC))
		})
		r.Check(group.Wait())
	}
	verdict := r.Close(ctx, window)
	fmt.Fprintf(r.Out, "%d moves cost %d of %d frames\n", moves, len(verdict.Costs), verdict.Frames)
}
