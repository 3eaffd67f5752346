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

// delays is how long frames were kept: by powers of ten, from below 10 µs on.
type delays struct {
	counts  [8]uint64
	longest int64
}

func (d *delays) add(ns int64) {
	i, limit := 0, int64(10*time.Microsecond)
	for ; i < len(d.counts)-1 && ns >= limit; limit *= 10 {
		i++
	}
	d.counts[i]++
	d.longest = max(d.longest, ns)
}

// writeDelays prints one line for each part.
func (v *Verdict) writeDelays(w *strings.Builder) {
	table(w, func(line func(...any)) {
		line("HELD BY", "<10µs", "<100µs", "<1ms", "<10ms", "<100ms", "<1s", "<10s", "≥10s", "LONGEST")
		for _, d := range []struct {
			name string
			of   *delays
		}{{"switch", &v.held[theSwitch]}, {"demux", &v.held[theDemux]}, {"links", &v.held[endpoint]}} {
			cells := []any{d.name}
			for _, n := range d.of.counts {
				cells = append(cells, n)
			}
			line(append(cells, time.Duration(d.of.longest))...)
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

// checkCarried checks how long the links took.
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
	a.verdict.held[p].add(max(least, 0))
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
	return slices.ContainsFunc(a.lab.Moves, func(m Move) bool {
		mac := a.lab.Clients[a.history.named[m.Client]].MAC
		return (mac == f.source || mac == f.dest || group(f.dest)) && m.Start <= to && from <= m.End+handlingTime
	})
}
