package scenarios

import (
	"context"
	"fmt"
	"slices"

	"github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"

	"github.com/vlandemux/vlandemux/harness"
)

// talk makes clients c0 and c2 and their workers send each other frames, and the workers to
// all besides, until during is over; once at least.
func (r *Run) talk(ctx context.Context, window *harness.Window, name string, during func(context.Context) error) {
	r.talkOf(ctx, window, name, []int{0, 2}, during)
}

// talkOf is talk of other clients.
func (r *Run) talkOf(ctx context.Context, window *harness.Window, name string, numbers []int, during func(context.Context) error) {
	var clients []harness.Client
	var workers []harness.Worker
	for _, i := range numbers {
		c := r.Lab.Topology.Clients[i]
		clients, workers = append(clients, c), append(workers, r.WorkerOf(c))
	}
	r.talkTo(ctx, window, name, clients, workers, during)
}

// talkTo makes clients send to their workers, and workers to those of them that
// are theirs, and to all at once.
func (r *Run) talkTo(ctx context.Context, window *harness.Window, name string, clients []harness.Client, workers []harness.Worker, during func(context.Context) error) {
	const perBatch, rate = 20, 4_000 // frames, frames/s of each sender
	over := make(chan struct{})
	group, ctx := errgroup.WithContext(ctx)
	send := func(node string, from, to harness.MAC) {
		b := r.Batch(fmt.Sprintf("%s: %s to %s", name, node, to), perBatch, from, to)
		b.Rate = rate
		group.Go(func() error { return window.SendUntil(ctx, over, pauses(b), node, b) })
	}
	for _, c := range clients {
		send(c.Name, c.MAC, r.WorkerOf(c).MAC)
		if slices.ContainsFunc(workers, func(w harness.Worker) bool { return w.Name == c.Worker }) {
			send(c.Worker, r.WorkerOf(c).MAC, c.MAC)
		}
	}
	for _, w := range workers {
		send(w.Name, w.MAC, broadcast())
	}
	group.Go(func() error {
		defer close(over)
		if during == nil {
			return nil
		}
		return during(ctx)
	})
	r.Check(group.Wait())
}

// inhabitedMove plugs c0 into the VLAN of c2, which another worker serves, and back.
func inhabitedMove(ctx context.Context, r *Run) {
	c0, c2 := r.Lab.Topology.Clients[0], r.Lab.Topology.Clients[2]
	r.Close(ctx, r.Introduce(ctx))
	for i, to := range []harness.Place{c2.Place, c0.Place} {
		r.Step(fmt.Sprintf("c0 is plugged into %s under load", to))
		window := r.OpenWindow(ctx)
		r.talk(ctx, window, fmt.Sprintf("move %d", i+1), func(ctx context.Context) error {
			return r.Lab.Move(ctx, c0.Name, to)
		})
		r.Close(ctx, window)
		r.Step("both talk where they are")
		window = r.OpenWindow(ctx)
		r.talk(ctx, window, fmt.Sprintf("after move %d", i+1), nil)
		r.Close(ctx, window)
	}
}

// swapped lets c0 and c2 change places under load, one after the other.
func swapped(ctx context.Context, r *Run) {
	const swaps = 10
	c0, c2 := r.Lab.Topology.Clients[0], r.Lab.Topology.Clients[2]
	window := r.Introduce(ctx)
	r.talk(ctx, window, "swapping", func(ctx context.Context) error {
		for i := range swaps {
			for j, c := range []harness.Client{c0, c2} {
				to := []harness.Place{c2.Place, c0.Place}[(i+j)%2]
				if err := r.Lab.Move(ctx, c.Name, to); err != nil {
					return err
				}
			}
		}
		return nil
	})
	r.Close(ctx, window)
	window = r.OpenWindow(ctx)
	r.talk(ctx, window, "at home", nil)
	r.Close(ctx, window)
}

// twoMovers lets c0 and c2 move at the same time, between both trunks.
func twoMovers(ctx context.Context, r *Run) {
	const moves = 20
	places := r.otherPlaces()
	window := r.Introduce(ctx)
	r.talk(ctx, window, "moving", func(ctx context.Context) error {
		group, ctx := errgroup.WithContext(ctx)
		for i, client := range []string{"c0", "c2"} {
			group.Go(func() error {
				for m := range moves {
					to := places[(m+2*i)%len(places)]
					if err := r.Lab.Move(ctx, client, to); err != nil {
						return err
					}
				}
				return nil
			})
		}
		return group.Wait()
	})
	r.Close(ctx, window)
}

// restartedMoves ends vlandemux and starts it again, ten times, four of them with other programs
// and maps, while c0 and c2 move and talk.
func restartedMoves(ctx context.Context, r *Run) {
	window := r.Introduce(ctx)
	r.talk(ctx, window, "restarts", func(ctx context.Context) error {
		restarting, ended := errgroup.WithContext(ctx)
		restarted := make(chan struct{})
		restarting.Go(func() error {
			defer close(restarted)
			for i := range 10 {
				signal := []string{"KILL", "TERM"}[i%2]
				var err error
				if i%4 < 2 {
					err = r.Lab.RestartDemux(ended, signal, nil)
				} else {
					err = r.Lab.UpgradeDemux(ended, signal, 1_000+i)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		restarting.Go(func() error {
			places := r.otherPlaces()
			for m := 0; ; m++ {
				select {
				case <-restarted:
					return nil
				default:
				}
				for i, client := range []string{"c0", "c2"} {
					if err := r.Lab.Move(ended, client, places[(m+2*i)%len(places)]); err != nil {
						return err
					}
				}
			}
		})
		return restarting.Wait()
	})
	r.Close(ctx, window)
	window = r.OpenWindow(ctx)
	r.talk(ctx, window, "afterwards", nil)
	r.Close(ctx, window)
}

// trunkDown takes trunk 1 down behind c0, which is plugged in at trunk 0 until it is up
// again, while c2 talks there all the time. Meanwhile w0 sends to c0, and to all: to c0 and to c1, which is on trunk 0.
func trunkDown(ctx context.Context, r *Run) {
	const lost, partly = 7, 11 // frames
	c0 := r.Lab.Topology.Clients[0]
	w0, there := r.WorkerOf(c0), r.otherPlaces()[2]
	window := r.Introduce(ctx)
	arrived := uint64(2) // at w0: the introductions of its clients
	for i, step := range []struct {
		text string
		do   func(context.Context) error
	}{
		{"c0 is plugged into trunk 1", func(ctx context.Context) error { return r.Lab.Move(ctx, c0.Name, there) }},
		{"trunk 1 goes down, with frames for c0, which is plugged into trunk 0 then", func(ctx context.Context) error {
			if err := r.Lab.SetTrunk(ctx, 1, false); err != nil {
				return err
			}
			arrived += lost + partly
			if err := window.Send(ctx, w0.Name,
				r.Batch("to the trunk that is down", lost, w0.MAC, c0.MAC), r.Batch("to all, one of whom is there", partly, w0.MAC, broadcast())); err != nil {
				return err
			}
			return r.Lab.Move(ctx, c0.Name, c0.Place)
		}},
		{"trunk 1 comes up, and c0 is plugged in there again", func(ctx context.Context) error {
			if err := r.Lab.SetTrunk(ctx, 1, true); err != nil {
				return err
			}
			return r.Lab.Move(ctx, c0.Name, there)
		}},
	} {
		r.Step(step.text)
		r.talkOf(ctx, window, step.text, []int{2}, step.do)
		name := func(text string) string { return fmt.Sprintf("%s after step %d", text, i+1) }
		r.Send(ctx, window, c0.Name, r.Batch(name("c0"), 1, c0.MAC, w0.MAC))
		arrived++
		r.Await(ctx, window, map[string]uint64{"w0/eth0": arrived})
		r.Send(ctx, window, w0.Name, r.Batch(name("reply"), 5, w0.MAC, c0.MAC), r.Batch(name("broadcast"), 5, w0.MAC, broadcast()))
		arrived += 10
		r.Await(ctx, window, map[string]uint64{"w0/eth0": arrived})
	}
	verdict := r.Close(ctx, window)
	r.Expect(verdict.Costs).To(gomega.BeEmpty(), "frames lost")
	r.Expect(verdict.Demux.Ended).To(gomega.Equal(map[string]uint64{"no_trunk": lost}), "frames dropped")
	r.Expect(verdict.Counted).To(gomega.ContainElement(gomega.And(
		gomega.HaveField("Name", "no_trunk"), gomega.HaveField("Want.Packets", gomega.BeEquivalentTo(lost+partly)))), "frames, and copies of frames to all, dropped")
}
