package ledger

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// line is one row of a wrong frame's trace: what had to be seen if everything
// before it had gone right, and what was.
type line struct {
	row
	time      int64 // of the first sighting, 0 for none
	wrongHere bool  // it went wrong here, and not before
}

// explain traces a wrong frame hop by hop.
func (a *audit) explain(x *wrongFrame) string {
	f := &a.table.frames[x.frame]
	lines := a.follow(f, x.rows)
	var w strings.Builder
	fmt.Fprintf(&w, "%s\n", a.describe(f))
	var start int64
	if seen := a.table.sightings(f); len(seen) > 0 {
		start = seen[0].time
		fmt.Fprintf(&w, "  first seen %s at %s\n", clock(start), a.plan.of(seen[0].side).name)
	} else {
		w.WriteString("  seen nowhere\n")
	}
	for _, fault := range x.faults {
		fmt.Fprintf(&w, "  %s  ← wrong\n", fault)
	}
	for _, n := range x.notes {
		fmt.Fprintf(&w, "  had to end at the %s: %s\n", n.part, n.why)
	}
	table(&w, func(row func(...any)) {
		row("TAP", "DIRECTION", "TAGS", "OCTETS", "WANT", "GOT", "AFTER", "")
		for i := range lines {
			l := &lines[i]
			row(a.plan.of(l.side).name, l.side.direction(), l.tags, l.length, l.want, l.got, after(l.time, start), l.remark())
		}
	})
	a.findAltered(&w, f, lines)
	a.dump(&w, f)
	return w.String()
}

func (l *line) remark() string {
	switch {
	case l.wrongHere && l.got < l.want:
		return "← missing"
	case l.wrongHere && l.got > l.want:
		return "← too many"
	}
	return ""
}

func after(t, start int64) string {
	if t == 0 {
		return "-"
	}
	return time.Duration(t - start).String()
}

func (p part) String() string {
	switch p {
	case theSwitch:
		return "switch"
	case theDemux:
		return "demux"
	}
	return "end"
}

// follow turns rows, each of which asks only for what follows from the tap before
// it, into lines that ask for what follows from the frame having been sent: a frame
// that was lost had to be seen everywhere behind the loss as well.
func (a *audit) follow(f *frame, rows []row) []line {
	lines := make([]line, 0, 2*len(rows))
	for _, r := range rows {
		lines = append(lines, line{row: r, wrongHere: r.want != r.got})
	}
	find := func(e emission) *line {
		for i := range lines {
			if l := &lines[i]; l.matches(e.side, e.length, e.tags) || e.matches(l.side, l.length, l.tags) {
				return l
			}
		}
		lines = append(lines, line{row: row{emission: e}})
		return &lines[len(lines)-1]
	}
	// Lines are added while this goes on: what follows from them follows too.
	for i := 0; i < len(lines) && len(lines) < 64; i++ {
		l := lines[i]
		lost := l.want - l.got
		if side, on := a.plan.far(l.side); l.side.out() && on && lost != 0 {
			far := emission{side: side, tags: l.tags, length: l.length}
			find(far).want += lost
			if lost > 0 {
				a.behind(f, far, lost, find)
			}
		} else if l.wrongHere && lost > 0 {
			a.behind(f, l.emission, lost, find)
		}
	}
	for i := range lines {
		for _, r := range a.table.sightings(f) {
			if lines[i].matches(r.side, r.length, r.tags) {
				lines[i].time = r.time
				break
			}
		}
	}
	lines = slices.DeleteFunc(lines, func(l line) bool { return l.want == 0 && l.got == 0 })
	a.arrange(f, lines)
	return lines
}

// behind asks for what follows from frames that did not come in somewhere.
func (a *audit) behind(f *frame, e emission, lost int, find func(emission) *line) {
	p := a.plan.of(e.side).role.part()
	if p == endpoint {
		return
	}
	for _, e := range a.expectedFrom(f, p, e) {
		find(e).want += lost
	}
}

// expectedFrom is what a part would have done with a frame that never came.
func (a *audit) expectedFrom(f *frame, p part, e emission) []emission {
	var now int64
	if seen := a.table.sightings(f); len(seen) > 0 {
		now = seen[len(seen)-1].time
	}
	in := pass{record: record{time: now, side: e.side, tags: e.tags, length: e.length}, learnedBy: now, doneBy: now}
	a.alternatives.reset()
	if p == theSwitch {
		a.refSwitch.handle(f, &in)
	} else {
		a.refDemux.handle(f, &in)
	}
	if len(a.alternatives.outcomes) == 0 {
		return nil
	}
	return slices.Clone(a.alternatives.outcomes[0].want)
}

// arrange puts the lines in the order in which the frame travelled.
func (a *audit) arrange(f *frame, lines []line) {
	up := true
	if seen := a.table.sightings(f); len(seen) > 0 {
		up = a.plan.of(seen[0].side).role < trunkEnd
	} else if f.origin >= 0 {
		up = a.plan.of(a.table.origins[f.origin].side).role < trunkEnd
	}
	slices.SortStableFunc(lines, func(x, y line) int {
		s, t := int(x.side), int(y.side)
		if a.plan.of(x.side).role == a.plan.of(y.side).role {
			return s - t
		}
		if up {
			return s - t
		}
		return t - s
	})
}

// findAltered looks for a frame that was seen where this one is missing, from the same
// sender and as long, and that nobody sent: this one with other octets.
func (a *audit) findAltered(w *strings.Builder, f *frame, lines []line) {
	for i := range lines {
		l := &lines[i]
		if !l.wrongHere || l.got >= l.want {
			continue
		}
		for j := range a.table.frames {
			g := &a.table.frames[j]
			if g.origin >= 0 || g == f || !a.alike(g, f, l) {
				continue
			}
			fmt.Fprintf(w, "  seen there instead, and sent by nobody: frame %s (%s → %s, EtherType %#04x)\n",
				g.fingerprint, g.source, g.dest, g.etherType)
			a.compare(w, f, g)
			return
		}
	}
}

func (a *audit) alike(g, f *frame, l *line) bool {
	if g.source != f.source && g.dest != f.dest {
		return false
	}
	seen := a.table.sightings(g)
	if len(seen) == 0 || seen[0].side != l.side {
		return false
	}
	return seen[0].length == l.length
}

// compare shows the first octets that differ between two frames, behind the tags.
func (a *audit) compare(w *strings.Builder, f, g *frame) {
	want, ok := a.octets(f)
	got, also := a.octets(g)
	if !ok || !also {
		return
	}
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			end := min(i+8, len(want), len(got))
			fmt.Fprintf(w, "  octets differ from octet %d without tags on: want % x, got % x\n", i, want[i:end], got[i:end])
			return
		}
	}
}

// octets are a frame's without its tags, if its batch or a tap has them.
func (a *audit) octets(f *frame) ([]byte, bool) {
	data, ok := a.data(f)
	if !ok || len(data) < ethernetHeader {
		return nil, false
	}
	behind := min(ethernetHeader-2+tagOctets*int(stackIn(data).count), len(data))
	return slices.Concat(data[:ethernetHeader-2], data[behind:]), true
}

func (a *audit) data(f *frame) ([]byte, bool) {
	if f.origin >= 0 {
		o := &a.table.origins[f.origin]
		for n, data := range a.in.Sent[o.batch].Batch.AllFrames() {
			if n == int(o.number) {
				return slices.Clone(data), true
			}
		}
	}
	if a.in.Capture == nil {
		return nil, false
	}
	for _, r := range a.table.sightings(f) {
		if data, ok := a.in.Capture(a.plan.of(r.side).name, f.fingerprint); ok {
			return data, true
		}
	}
	return nil, false
}

// dumpOctets is how much of a frame is shown.
const dumpOctets = 64

// dump shows how a frame that has no batch begins.
func (a *audit) dump(w *strings.Builder, f *frame) {
	if f.origin >= 0 {
		return
	}
	data, ok := a.data(f)
	if !ok {
		return
	}
	fmt.Fprintf(w, "  it begins\n")
	for _, l := range strings.Split(strings.TrimRight(hex.Dump(data[:min(len(data), dumpOctets)]), "\n"), "\n") {
		fmt.Fprintf(w, "    %s\n", l)
	}
}
