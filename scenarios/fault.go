package scenarios

import (
	"context"
	"fmt"
	"time"

	"github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness"
)

// Faults breaks single frames on purpose: what is never found wrong proves nothing.
func Faults() Scenario {
	return Scenario{
		Name:    "faults",
		Summary: "A link that drops, doubles, corrupts or delays one frame is found out: that frame and no other, and where.",
		Labels:  []string{"fault"},
		Cases: []Case{{
			Text: "finds the one frame that a link drops, doubles, corrupts or delays",
			Topology: rackOf(2, func(t *harness.Topology) {
				t.Trunks = 2
			}),
			Run: faults,
		}},
	}
}

func faults(ctx context.Context, r *Run) {
	const frames = 40
	c0, w0 := r.Lab.Topology.Clients[0], r.Lab.Topology.Workers[0]
	rng := r.Seed.Rand("faults")
	at := c0.Place
	r.Close(ctx, r.Introduce(ctx))
	for _, link := range []struct {
		tap, sender string
		from, to    harness.MAC
		moved       bool // c0 goes to the other trunk when the fault is installed
	}{
		{"switch/trunk0", c0.Name, c0.MAC, w0.MAC, false},
		{"host/trunk0", w0.Name, w0.MAC, c0.MAC, false},
		{"switch/c0", w0.Name, w0.MAC, c0.MAC, true},
	} {
		for _, broken := range []struct {
			kind                  harness.Fault
			wrong, missing, extra int // frames; a corrupt one is one missing and one that nobody sent
		}{
			{harness.Fault{Kind: harness.FaultDrop}, 1, 1, 0},
			{harness.Fault{Kind: harness.FaultDouble}, 1, 0, 1},
			{harness.Fault{Kind: harness.FaultCorrupt}, 2, 1, 1},
		} {
			f := broken.kind
			f.Nth = 1 + rng.IntN(frames)
			what := fmt.Sprintf("%s frame %d at %s", f.Kind, f.Nth, link.tap)
			r.Step(what)
			window := r.OpenWindow(ctx)
			r.Check(window.Fault(ctx, link.tap, f))
			if link.moved {
				at.Trunk = 1 - at.Trunk
				r.Check(r.Lab.Move(ctx, c0.Name, at))
				r.Send(ctx, window, c0.Name, r.Batch("after the move, "+what, 1, c0.MAC, w0.MAC))
				r.Await(ctx, window, map[string]uint64{"w0/eth0": 1})
			}
			r.Send(ctx, window, link.sender, r.Batch(what, frames, link.from, link.to))
			verdict, err := window.Close(ctx)
			r.Check(err)
			r.Expect(verdict.Err()).To(gomega.MatchError(gomega.ContainSubstring("batch %q frame %d, sent at", what, f.Nth-1)))
			r.Expect(verdict.Wrong).To(gomega.Equal(broken.wrong), "wrong frames: %v", verdict.Err())
			r.Expect(verdict.Sides).To(gomega.HaveLen(1), "where: %v", verdict.Err())
			side := verdict.Sides[0]
			r.Expect([]any{side.Tap, side.Missing, side.Extra}).To(gomega.Equal([]any{link.tap, broken.missing, broken.extra}))
			r.Expect(verdict.Counters).To(gomega.BeEmpty(), "counters that disagree: those of the demux are right about what came to it")
			if f.Kind == harness.FaultDrop {
				r.Expect(verdict.Err()).To(gomega.MatchError(gomega.ContainSubstring("← missing: dropped by the kernel at %s: reason TC_EGRESS in ", link.tap)))
			}
		}
	}
	delayed(ctx, r)
	dropped(ctx, r)
}

// dropped lets the kernel itself drop frames, which says why: at a client that takes no frame as long, and at a worker whose link is down.
func dropped(ctx context.Context, r *Run) {
	const frames, size = 3, 1200
	c0, c1, w0, w1 := r.Lab.Topology.Clients[0], r.Lab.Topology.Clients[1], r.Lab.Topology.Workers[0], r.Lab.Topology.Workers[1]
	for _, broken := range []struct {
		tap, sender string
		from, to    harness.MAC
		fault       harness.Fault
	}{
		{c0.Name + "/eth0", w0.Name, w0.MAC, c0.MAC, harness.Fault{Kind: harness.FaultMTU, MTU: size - harness.EthernetHeader - 100}},
		{w1.Name + "/eth0", c1.Name, c1.MAC, w1.MAC, harness.Fault{Kind: harness.FaultDown}},
	} {
		what := fmt.Sprintf("%s at %s", broken.fault.Kind, broken.tap)
		r.Step(what)
		window := r.OpenWindow(ctx)
		r.Check(window.Fault(ctx, broken.tap, broken.fault))
		b := r.Batch(what, frames, broken.from, broken.to)
		b.Size = size
		r.Send(ctx, window, broken.sender, b)
		verdict, err := window.Close(ctx)
		r.Check(err)
		r.Expect(verdict.Err()).To(gomega.MatchError(gomega.MatchRegexp("← missing: dropped by the kernel at (switch|host)/[^ ]+: reason [A-Z_]+ in [a-z_]+")))
		r.Expect(verdict.Wrong).To(gomega.Equal(frames), "wrong frames: %v", verdict.Err())
		r.Expect(verdict.Dropped).To(gomega.ContainElement(gomega.HaveField("Packets", gomega.BeEquivalentTo(frames))), "of the kernel: %v", verdict.Err())
	}
}

// delayed is the last step: a frame that comes after those sent behind it.
func delayed(ctx context.Context, r *Run) {
	const frames, rate, by = 40, 4_000, 200 * time.Millisecond // frames/s: the last leaves long before
	c0, w0 := r.Lab.Topology.Clients[0], r.Lab.Topology.Workers[0]
	for _, link := range []struct {
		tap, sender string
		from, to    harness.MAC
	}{
		{"c0/eth0", c0.Name, c0.MAC, w0.MAC}, {"host/w0", c0.Name, c0.MAC, w0.MAC}, {"switch/c0", w0.Name, w0.MAC, c0.MAC},
	} {
		f := harness.Fault{Kind: harness.FaultDelay, Nth: 1 + r.Seed.Rand("delay "+link.tap).IntN(frames-1), By: by}
		what := fmt.Sprintf("%s frame %d at %s", f.Kind, f.Nth, link.tap)
		r.Step(what)
		window := r.OpenWindow(ctx)
		r.Check(window.Fault(ctx, link.tap, f))
		b := r.Batch(what, frames, link.from, link.to).Paced(rate)
		r.Send(ctx, window, link.sender, b)
		r.Await(ctx, window, map[string]uint64{c0.Name + "/eth0": frames, w0.Name + "/eth0": frames})
		verdict, err := window.Close(ctx)
		r.Check(err)
		r.Expect(verdict.Err()).To(gomega.MatchError(gomega.And(
			gomega.ContainSubstring("batch %q frame %d, sent at", what, f.Nth-1), gomega.MatchRegexp(`%s saw it [0-9.]+m?s after frame %d of the same batch`, link.tap, f.Nth))))
		r.Expect(verdict.Wrong).To(gomega.Equal(1), "wrong frames: %v", verdict.Err())
		r.Expect(verdict.Sides).To(gomega.BeEmpty(), "missing or too many: %v", verdict.Err())
		r.Expect(verdict.Counters).To(gomega.BeEmpty(), "counters that disagree: %v", verdict.Err())
	}
}
