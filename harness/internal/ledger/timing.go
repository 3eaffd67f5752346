package ledger

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// mostHeld bounds how long a part or a link may keep a frame. Emulated
	// processors on a busy machine take some 100 ms at worst.
	mostHeld = int64(5 * time.Second)
	// clockSkew bounds how far the clocks of two processors may be apart.
	clockSkew = int64(time.Millisecond)
)

// Held is how long a part, or all links, kept frames.
type Held struct {
	// Frames by time: Frames[i] is how many were kept for less than HeldLimits()[i] and not for
	// less than the limit before; the last for longer than all.
	Frames  [heldLimits + 1]uint64
	Longest time.Duration
}

const heldLimits = 22

// HeldLimits are 1 µs, 2 µs, 5 µs, 10 µs, and so on to 10 s.
func HeldLimits() (limits [heldLimits]time.Duration) {
	for i, decade := 0, time.Microsecond; i < heldLimits; i, decade = i+3, decade*10 {
		for j, times := range []time.Duration{1, 2, 5} {
			if i+j < heldLimits {
				limits[i+j] = times * decade
			}
		}
	}
	return limits
}

func (h *Held) add(ns int64) {
	i, decade := 0, int64(time.Microsecond)
	for ; i < heldLimits-1 && ns >= 10*decade; i += 3 {
		decade *= 10
	}
	for _, times := range []int64{1, 2, 5} {
		if i < heldLimits && ns >= times*decade {
			i++
		}
	}
	h.Frames[i]++
	h.Longest = max(h.Longest, time.Duration(ns))
}

// decades are the frames below 10 µs, below 100 µs, and so on.
func (h *Held) decades() (counts [8]uint64) {
	for i, n := range h.Frames {
		counts[max(0, (i-1)/3)] += n
	}
	return counts
}

func (v *Verdict) writeDelays(w *strings.Builder) {
	table(w, func(line func(...any)) {
		line("HELD BY", "<10µs", "<100µs", "<1ms", "<10ms", "<100ms", "<1s", "<10s", "≥10s", "LONGEST")
		for _, d := range []struct {
			name string
			of   *Held
		}{{"switch", &v.Held[theSwitch]}, {"demux", &v.Held[theDemux]}, {"links", &v.Held[endpoint]}} {
			cells := []any{d.name}
			for _, n := range d.of.decades() {
				cells = append(cells, n)
			}
			line(append(cells, d.of.Longest)...)
		}
	})
}

// checkHeld checks how long a part kept a frame. Of several identical ones that came
// in, it cannot be known which of those that left is whose.
func (a *audit) checkHeld(f *frame, p part) {
	if len(a.ins) == 0 || a.injected(f, p) {
		return
	}
	first, last := a.ins[0].time, a.ins[len(a.ins)-1].time
	for i := range a.outs {
		r := &a.outs[i]
		if fault := a.held(p, r.time-last, r.time-first); fault != "" {
			a.faults = append(a.faults, fmt.Sprintf("it left the %s at %s %s", p, a.plan.of(r.side).name, fault))
		}
	}
}

// injected tells whether a batch sent a frame out of one of a part's own interfaces.
func (a *audit) injected(f *frame, p part) bool {
	for i := f.origin; i >= 0; i = a.table.origins[i].next {
		if a.plan.of(a.table.origins[i].side).role.part() == p {
			return true
		}
	}
	return false
}

// mostCarried bounds how many sightings of one frame, or of identical ones, are
// told apart on links.
const mostCarried = 64

func (a *audit) checkCarried(f *frame) {
	seen := a.table.sightings(f)
	if len(seen) > mostCarried {
		return
	}
	for i, out := range seen {
		if !out.side.out() {
			continue
		}
		// The far end has seen as many in the same order, or is wrong anyway.
		n := 0
		for _, r := range seen[:i] {
			if r.side == out.side {
				n++
			}
		}
		far, on := a.plan.far(out.side)
		if !on {
			continue
		}
		for _, r := range seen {
			if r.side != far {
				continue
			}
			if n--; n >= 0 {
				continue
			}
			if fault := a.held(endpoint, r.time-out.time, r.time-out.time); fault != "" {
				a.faults = append(a.faults, fmt.Sprintf("it came to %s from %s %s", a.plan.of(far).name, a.plan.of(out.side).name, fault))
			}
			break
		}
	}
}

// held counts a delay and says what is wrong with it, "" for nothing. least and most
// differ where it is not known exactly.
func (a *audit) held(p part, least, most int64) string {
	a.verdict.Held[p].add(max(least, 0))
	switch {
	case most < -clockSkew:
		return fmt.Sprintf("%s before it could", time.Duration(-most))
	case least > mostHeld:
		return fmt.Sprintf("after %s, at most %s are right", time.Duration(least), time.Duration(mostHeld))
	}
	return ""
}

// disorder finds the frames that a tap saw after a later one of the same batch,
// source and destination. Each batch is sent by one thread on one processor.
func (a *audit) disorder() map[int32]string {
	frames := make([]int32, len(a.table.origins)) // by origin, -1 for identical ones
	for i := range frames {
		frames[i] = -1
	}
	for i := range a.table.frames {
		if o := a.table.frames[i].origin; o >= 0 && a.table.origins[o].next < 0 {
			frames[o] = int32(i)
		}
	}
	type earliest struct {
		record
		number int32 // of the frame in its batch
	}
	wrong := map[int32]string{}
	next := make([]earliest, 2*len(a.plan.taps))
	var after *frame
	batch := int32(-1)
	for i, index := range slices.Backward(frames) {
		if index < 0 {
			continue
		}
		f, o := &a.table.frames[index], &a.table.origins[i]
		if o.batch != batch || after == nil || f.source != after.source || f.dest != after.dest {
			clear(next)
		}
		batch, after = o.batch, f
		seen := a.table.sightings(f)
		for j, r := range seen {
			if slices.ContainsFunc(seen[:j], func(x record) bool { return x.side == r.side }) {
				continue // a copy
			}
			l := &next[r.side]
			if l.time != 0 && r.place > l.place && !a.moving(f, min(r.time, l.time), max(r.time, l.time)) && wrong[index] == "" {
				wrong[index] = fmt.Sprintf("%s saw it %s after frame %d of the same batch",
					a.plan.of(r.side).name, time.Duration(r.time-l.time), l.number)
			}
			if l.time == 0 || r.place < l.place {
				*l = earliest{r, o.number}
			}
		}
	}
	return wrong
}

// moving tells whether the sender or a receiver of a frame was being moved, or had
// just been, at some moment of a time.
func (a *audit) moving(f *frame, from, to int64) bool {
	return slices.ContainsFunc(a.setup.Moves, func(m Move) bool {
		mac := a.setup.Clients[a.history.named[m.Client]].MAC
		return (mac == f.source || mac == f.dest || group(f.dest)) && m.Start <= to && from <= m.End+handlingTime
	})
}
