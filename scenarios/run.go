package scenarios

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
	"github.com/vlandemux/vlandemux/harness"
	"github.com/vlandemux/vlandemux/harness/probe"
	"github.com/vlandemux/vlandemux/harness/probe/ledger"
)

// Run is a case under way. Its Gomega ends the case when an expectation fails.
type Run struct {
	gomega.Gomega
	Variant
	Lab *harness.Lab
	// Fail ends the case with a message.
	Fail func(message string, callerSkip ...int)
	// Out is what the case shows to people.
	Out io.Writer
	// Step announces what happens next.
	Step func(text string)
	// Captures are the frames to replay.
	Captures []probe.Frame
	// Linger keeps the lab up for a person once the case has shown what it
	// has to show. Optional.
	Linger func(context.Context)
}

// Check ends the case on an error, which says by itself what was being done.
func (r *Run) Check(err error) {
	if err != nil {
		r.Fail(err.Error(), 1)
	}
}

// Observe taps every interface of the lab until the window is settled.
func (r *Run) Observe(ctx context.Context) *harness.Window {
	w, err := r.Lab.Observe(ctx)
	r.Check(err)
	return w
}

// Settle waits until the lab is quiet and demands that the ledger balances.
func (r *Run) Settle(ctx context.Context, w *harness.Window) *ledger.Verdict {
	v, err := w.Settle(ctx)
	r.Check(err)
	r.Check(v.Err())
	fmt.Fprintln(r.Out, v)
	return v
}

// Send sends batches from a node's eth0, all at once, and enters them in the
// window's books.
func (r *Run) Send(ctx context.Context, w *harness.Window, node string, batches ...probe.Batch) {
	r.Check(w.Send(ctx, node, batches...))
}

// Counters reads those of the demux through its socket.
func (r *Run) Counters(ctx context.Context) control.Counters {
	c, err := r.Lab.Demux().Counters(ctx)
	r.Check(err)
	return c
}

// Introduce opens a window in which every assigned client sends one frame, and
// returns once all have come to their workers: the demux knows where each client is.
func (r *Run) Introduce(ctx context.Context) *harness.Window {
	w := r.Observe(ctx)
	arrived := map[string]uint64{}
	for _, c := range r.Lab.Topology.Clients {
		if c.Worker != "" {
			r.Send(ctx, w, c.Name, r.Batch("introduction of "+c.Name, 1, c.MAC, r.WorkerOf(c).MAC))
			arrived[c.Worker+"/eth0"]++
		}
	}
	r.Await(ctx, w, arrived)
	return w
}

// Await waits until each of the taps has seen that many frames since the window
// opened. If they do not come, the ledger tells which are missing.
func (r *Run) Await(ctx context.Context, w *harness.Window, frames map[string]uint64) {
	err := w.Await(ctx, frames)
	if errors.Is(err, harness.ErrStill) {
		r.Settle(ctx, w)
	}
	r.Check(err)
}

// WorkerOf is the worker a client is assigned to when the lab starts.
func (r *Run) WorkerOf(c harness.Client) harness.Worker {
	for _, w := range r.Lab.Topology.Workers {
		if w.Name == c.Worker {
			return w
		}
	}
	return harness.Worker{}
}

// places is how many different places a worker's clients are plugged in at.
func (r *Run) places(w harness.Worker) int {
	places := map[place]bool{}
	for _, c := range r.Lab.Topology.Clients {
		if c.Worker == w.Name {
			places[place{c.Trunk, c.VLAN}] = true
		}
	}
	return len(places)
}

// Batch is a batch of count frames of 60 octets with IDs of its own.
func (r *Run) Batch(name string, count int, source, destination harness.MAC) probe.Batch {
	return probe.Batch{
		Name: name, ID: r.Seed.BatchID(name), Count: count,
		Source: source, Destination: destination, Size: probe.MinFrame,
	}
}
