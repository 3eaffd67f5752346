package scenarios

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
	"github.com/vlandemux/vlandemux/harness"
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
	// Brief leaves one line there for each window in which all was right, and not the whole verdict.
	Brief bool
	// Step announces what happens next.
	Step func(text string)
	// Linger keeps the lab up for a person once the case has shown what it
	// has to show. Optional.
	Linger func(context.Context)
}

// Check ends the case on an error, which says by itself what was being done.
func (r *Run) Check(err error) {
	if err != nil {
		skip, _ := scenarioLine()
		r.Fail(err.Error(), skip)
	}
}

// scenarioLine finds the line of the scenario that is being run: the nearest
// caller that is no method of Run. skip is the number of callers between it and
// the function that asks.
func scenarioLine() (skip int, line string) {
	callers := make([]uintptr, 32)
	frames := runtime.CallersFrames(callers[:runtime.Callers(2, callers)])
	for ; ; skip++ {
		frame, more := frames.Next()
		if !more || !strings.Contains(frame.Function, ".(*Run).") {
			return skip, fmt.Sprintf("%s/%s:%d", filepath.Base(filepath.Dir(frame.File)), filepath.Base(frame.File), frame.Line)
		}
	}
}

// OpenWindow taps every interface of the lab until the window is closed. A case
// that leaves a window open fails.
func (r *Run) OpenWindow(ctx context.Context) *harness.Window {
	w, err := r.Lab.OpenWindow(ctx)
	r.Check(err)
	_, w.Opened = scenarioLine()
	return w
}

// Close waits until the lab is quiet and demands that everything that was sent,
// seen and counted since the window was opened is right.
func (r *Run) Close(ctx context.Context, w *harness.Window) *harness.Verdict {
	v, err := w.Close(ctx)
	if err == nil {
		err = v.Err()
	}
	if err != nil {
		r.Check(fmt.Errorf("in the window opened at %s: %w", w.Opened, err))
	}
	if r.Brief {
		fmt.Fprintf(r.Out, "the window opened at %s: %s\n", w.Opened, v.Line())
	} else {
		fmt.Fprintln(r.Out, v)
	}
	return v
}

// Send sends batches from a node's eth0, all at once, within a window.
func (r *Run) Send(ctx context.Context, w *harness.Window, node string, batches ...harness.Batch) {
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
	w := r.OpenWindow(ctx)
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
		r.Close(ctx, w)
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
	places := map[harness.Place]bool{}
	for _, c := range r.Lab.Topology.Clients {
		if c.Worker == w.Name {
			places[c.Place] = true
		}
	}
	return len(places)
}

// Batch is a batch of count frames of 60 octets with IDs of its own.
func (r *Run) Batch(name string, count int, source, destination harness.MAC) harness.Batch {
	return harness.Batch{
		Name: name, ID: r.Seed.BatchID(name), Count: count,
		Source: source, Destination: destination, Size: harness.MinFrame,
	}
}

// pauses is how often to send a batch again for a quarter of its rate on the whole: a dozen senders leave room for what happens meanwhile.
func pauses(b harness.Batch) time.Duration {
	return 4 * time.Duration(b.Count) * time.Second / time.Duration(b.Rate)
}
