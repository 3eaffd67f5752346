package scenarios

import (
	"context"
	"fmt"
	"slices"

	"github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/demux/control"
	"github.com/vlandemux/vlandemux/harness"
)

// Operator does to a running demux what operators do.
func Operator() Scenario {
	return Scenario{
		Name:    "operator",
		Summary: "Clients are assigned, reassigned and unassigned while others talk; what cannot be done changes nothing.",
		Cases: []Case{
			{
				Text: "hands a client from worker to worker while another one talks",
				Topology: rackOf(3, func(t *harness.Topology) {
					t.Clients[0].Worker = ""
					t.Clients[2].Worker = "w0" // a worker without any client is none of the demux's
					t.Demux.Capacity = 3       // whoever is assigned gets what another has left
				}),
				Run: reassign,
			},
			{
				Text: "loses no frame of others, and doubles none, when assignments change under load",
				Topology: rackOf(3, func(t *harness.Topology) {
					t.Clients[2].Worker = "w0" // shares it with c0, which is the one that changes
					t.Demux.Capacity = 3
				}),
				Run: changeUnderLoad,
			},
			{
				Text: "refuses what cannot be done and keeps what was there",
				Topology: rackOf(2, func(t *harness.Topology) {
					t.Demux.Capacity = 2
				}),
				Run: refuse,
			},
			{
				Text:   "loses no frame when vlandemux is killed, started again and upgraded",
				Labels: []string{"upgrade"},
				Topology: rackOf(2, func(t *harness.Topology) {
					t.Demux.Untagged, t.Demux.Unknown, t.Demux.GroupLimit = demux.UntaggedPass, demux.UnknownPass, groupLimit
					other := t.Clients[0].Place
					other.VLAN.Protocol ^= harness.Dot1Q ^ harness.Dot1AD
					t.Clients[0].Allowed = []harness.Place{t.Clients[0].Place, other} // with one, its location would be known without a frame
				}),
				Run: restart,
			},
			{
				Text:     "says how many events were lost while nobody read them, and goes on",
				Topology: rackOf(2),
				Run:      eventsLost,
			},
		},
	}
}

func reassign(ctx context.Context, r *Run) {
	r.Close(ctx, r.Introduce(ctx))
	c0, c1 := r.Lab.Topology.Clients[0], r.Lab.Topology.Clients[1]
	w0, w1 := r.Lab.Topology.Workers[0], r.Lab.Topology.Workers[1]
	talk := func(step string, change func() error) {
		r.Step(step)
		r.Check(change())
		window := r.OpenWindow(ctx)
		for _, w := range []harness.Worker{w0, w1} { // c0 is where it was, and has the priority it had
			r.Send(ctx, window, w.Name, r.Batch(w.Name+" to c0, first: "+step, 5, w.MAC, c0.MAC))
		}
		r.Send(ctx, window, c0.Name, r.Batch("c0: "+step, 20, c0.MAC, w0.MAC))
		var group errgroup.Group
		for _, w := range r.Lab.Topology.Workers[:2] {
			group.Go(func() error {
				return window.Send(ctx, w.Name,
					r.Batch(w.Name+" to c0: "+step, 20, w.MAC, c0.MAC), r.Batch(w.Name+" to all: "+step, 20, w.MAC, broadcast()))
			})
		}
		group.Go(func() error { return window.Send(ctx, c1.Name, r.Batch("c1: "+step, 20, c1.MAC, w1.MAC)) })
		r.Check(group.Wait())
		r.Check(window.Inject(ctx, c0.Trunk, r.Batch("c0 with a priority: "+step, 1, c0.MAC, w0.MAC).Tagged(c0.VLAN.Tag(5))))
		r.Close(ctx, window)
	}
	talk("c0 is not assigned", func() error { return nil })
	talk("c0 is assigned to w0", func() error { return r.Lab.Assign(ctx, c0.MAC, w0.Name) })
	talk("c0 is reassigned to w1, which has a client already", func() error { return r.Lab.Reassign(ctx, c0.MAC, w1.Name) })
	talk("c0 is unassigned", func() error { return r.Lab.Unassign(ctx, c0.MAC) })
	talk("c0 is assigned again", func() error { return r.Lab.Assign(ctx, c0.MAC, w0.Name) })
}

// changeUnderLoad reassigns, unassigns and assigns c0 while every client and worker
// sends. The ledger knows when each call began and returned: outside of that, one
// worker alone is right.
func changeUnderLoad(ctx context.Context, r *Run) {
	const rate, perBatch = 4_000, 40 // rate in frames/s of each of the senders
	const cycles, most = 6, 500      // more than a few only where senders are slow to begin
	window := r.Introduce(ctx)
	c0, c1, c2 := r.Lab.Topology.Clients[0], r.Lab.Topology.Clients[1], r.Lab.Topology.Clients[2]
	w0, w1 := r.Lab.Topology.Workers[0], r.Lab.Topology.Workers[1]
	changed := make(chan struct{})
	group, sending := errgroup.WithContext(ctx)
	send := func(node string, from, to harness.MAC) {
		b := r.Batch(fmt.Sprintf("%s to %s", node, to), perBatch, from, to).Paced(rate)
		group.Go(func() error { return window.SendUntil(sending, changed, pauses(b), node, b) })
	}
	send(c0.Name, c0.MAC, w0.MAC)
	send(c1.Name, c1.MAC, w1.MAC)
	send(c2.Name, c2.MAC, w0.MAC)
	for _, w := range []harness.Worker{w0, w1} {
		for _, to := range []harness.MAC{c0.MAC, c1.MAC, c2.MAC, broadcast()} {
			send(w.Name, w.MAC, to)
		}
	}
	came := []string{"unknown_client", "not_assigned"} // what becomes of frames that come while c0 has no worker, or another one
	group.Go(func() error {
		defer close(changed)
		for cycle := 0; ; cycle++ {
			if cycle >= cycles {
				if all, err := hasDropped(sending, r.Lab, came); err != nil || all || cycle == most {
					return err
				}
			}
			for _, change := range []func() error{
				func() error { return r.Lab.Reassign(sending, c0.MAC, w1.Name) },
				func() error { return r.Lab.Reassign(sending, c0.MAC, w0.Name) },
				func() error { return r.Lab.Unassign(sending, c0.MAC) },
				func() error { return r.Lab.Assign(sending, c0.MAC, w1.Name) },
				func() error { return r.Lab.Unassign(sending, c0.MAC) },
				func() error { return r.Lab.Assign(sending, c0.MAC, w0.Name) },
			} {
				if err := change(); err != nil {
					return err
				}
			}
		}
	})
	r.Check(group.Wait())
	verdict := r.Close(ctx, window)
	for _, reason := range came {
		r.Expect(verdict.Demux.Ended[reason]).NotTo(gomega.BeZero(), "frames that came while c0 had no worker, or another one: %s", reason)
	}
}

// hasDropped tells whether the demux has dropped frames for each of the reasons.
func hasDropped(ctx context.Context, lab *harness.Lab, reasons []string) (bool, error) {
	counters, err := lab.Demux().Counters(ctx)
	return !slices.ContainsFunc(reasons, func(reason string) bool {
		return !slices.ContainsFunc(counters.Drops, func(d control.DropCounter) bool { return d.Reason == reason && d.Packets > 0 })
	}), err
}

func refuse(ctx context.Context, r *Run) {
	before, err := r.Lab.Demux().Assignments(ctx)
	r.Check(err)
	mac := r.Lab.Topology.Clients[0].MAC.String()
	for _, wrong := range []struct {
		mac, worker string
		is          error
	}{
		{mac, "w1", demux.ErrAssigned},
		{"02:00:00:00:00:77", "w1", demux.ErrFull},
		{"01:00:5e:00:00:01", "w1", demux.ErrBadMAC},
		{"00:00:00:00:00:00", "w1", demux.ErrBadMAC},
		{"two", "w1", demux.ErrBadMAC},
		{"02:00:00:00:00:78", "nowhere", demux.ErrUnknownInterface},
	} {
		err := r.Lab.Demux().Assign(ctx, wrong.mac, wrong.worker)
		r.Expect(err).To(gomega.MatchError(wrong.is), "assigning %s to %s", wrong.mac, wrong.worker)
		fmt.Fprintf(r.Out, "assign %s=%s: %v\n", wrong.mac, wrong.worker, err)
	}
	r.Expect(r.Lab.Demux().Unassign(ctx, "02:00:00:00:00:79")).To(gomega.MatchError(demux.ErrNotAssigned))
	after, err := r.Lab.Demux().Assignments(ctx)
	r.Check(err)
	r.Expect(after).To(gomega.Equal(before))
	r.Close(ctx, r.Introduce(ctx))
}

// restart has c0 talk all the time. c1 says nothing after its introduction with a priority, and every
// counter has counted something before.
func restart(ctx context.Context, r *Run) {
	window := r.Introduce(ctx)
	c0, c1 := r.Lab.Topology.Clients[0], r.Lab.Topology.Clients[1]
	w0, w1 := r.WorkerOf(c0), r.WorkerOf(c1)
	stranger := station(r.Seed.Rand("stranger"))
	r.Check(window.Inject(ctx, c1.Trunk,
		r.Batch("untagged", 5, c1.MAC, w1.MAC), r.Batch("from a stranger", 7, stranger, w1.MAC).Tagged(c1.VLAN.Tag(0)),
		r.Batch("VID 4095", 7, c1.MAC, w1.MAC).Tagged(harness.Tag{Protocol: c1.VLAN.Protocol, TCI: 4095}),
		r.Batch("c1 with a priority", 7, c1.MAC, w1.MAC).Tagged(c1.VLAN.Tag(5))))
	r.Send(ctx, window, w1.Name, r.Batch("to nobody", 3, w1.MAC, stranger), r.Batch("to all", 3, w1.MAC, broadcast()))
	var group errgroup.Group
	send := func(node string, from, to harness.MAC) {
		b := r.Batch(node+" to "+to.String(), 5_000, from, to).Paced(2_500)
		group.Go(func() error { return window.Send(ctx, node, b) })
	}
	send(c0.Name, c0.MAC, w0.MAC)
	send(w0.Name, w0.MAC, c0.MAC)
	send(w1.Name, w1.MAC, c1.MAC)
	group.Go(func() error {
		return window.Inject(ctx, 0, r.Batch("c0 where it may not be", 5_000, c0.MAC, w0.MAC).Tagged(c1.VLAN.Tag(0)).Paced(2_500))
	})
	for signal, capacity := range map[string]int{"KILL": 3, "TERM": 5_000} {
		r.Step("vlandemux ends by SIG" + signal + " and is started again under traffic")
		r.Check(r.Lab.RestartDemux(ctx, signal, nil))
		r.Step("vlandemux ends by SIG" + signal + ", and programs with other maps take over under traffic")
		r.Check(r.Lab.UpgradeDemux(ctx, signal, capacity))
		status, err := r.Lab.Demux().Status(ctx)
		r.Check(err)
		r.Expect(status.Capacity).To(gomega.Equal(capacity))
	}
	r.Step("an upgrade that has no room for all clients is refused under traffic")
	err := r.Lab.UpgradeDemux(ctx, "TERM", 1)
	r.Expect(err).To(gomega.MatchError(gomega.ContainSubstring("2 assignments are more than the capacity of 1")))
	r.Check(group.Wait())
	r.Step("what was configured and what was dropped before is so still")
	r.Check(window.Inject(ctx, 0,
		r.Batch("untagged afterwards", 5, c1.MAC, w1.MAC), r.Batch("from a stranger afterwards", 7, stranger, w1.MAC).Tagged(c1.VLAN.Tag(0))))
	r.Send(ctx, window, w1.Name, r.Batch("to all, more than w1 may send", 6*groupLimit, w1.MAC, broadcast()))
	verdict := r.Close(ctx, window)
	r.Expect(verdict.Demux.Ended["group_limit"]).NotTo(gomega.BeZero(), "group frames beyond the limit")
	assignments, err := r.Lab.Demux().Assignments(ctx)
	r.Check(err)
	for _, a := range assignments {
		r.Expect(a.Location).NotTo(gomega.BeNil(), "%s was forgotten", a.MAC)
	}
}

// eventsLost makes c0 move more often than the demux can remember, while vlandemux is not there to read.
func eventsLost(ctx context.Context, r *Run) {
	const moves, rate = 30_000, 50_000 // frames, frames/s
	c0 := r.Lab.Topology.Clients[0]
	frames := make([][]byte, moves)
	for i := range frames {
		tag := harness.Tag{Protocol: c0.VLAN.Protocol, TCI: c0.VLAN.VID ^ uint16(1+i%2)<<1}
		frames[i] = numbered(uint32(i), c0.MAC, r.WorkerOf(c0).MAC, tag)
	}
	window := r.Introduce(ctx)
	b := r.raw("every frame from another VLAN than the one before", frames).Paced(rate)
	r.Check(r.Lab.RestartDemux(ctx, "KILL", func() error { return window.Inject(ctx, c0.Trunk, b) }))
	r.Send(ctx, window, c0.Name, r.Batch("c0 at home", 5, c0.MAC, r.WorkerOf(c0).MAC))
	verdict, err := window.Close(ctx)
	r.Check(err)
	lost := r.Counters(ctx).EventsLost
	r.Expect(lost).To(gomega.And(gomega.BeNumerically(">", 0), gomega.BeNumerically("<", moves)), "events lost")
	r.Expect(verdict.State).To(gomega.ConsistOf(gomega.ContainSubstring("lost %d events", lost)))
	r.Expect(verdict.Wrong).To(gomega.BeZero(), "wrong frames: %v", verdict.Err())
	r.Expect(verdict.Counters).To(gomega.BeEmpty(), "counters that disagree: %v", verdict.Err())
}
