package ledger

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// WrongFrame is one frame that was not exactly where it had to be, hop by hop.
type WrongFrame struct {
	Fingerprint probe.Fingerprint
	// Frame is its batch and number, and who sent what to whom.
	Frame string
	// First is when it was first seen, in nanoseconds since 1970, and FirstTap where; 0 and "" for nowhere.
	First    int64
	FirstTap string
	// Faults are what is wrong with it besides its places: its order, or its time.
	Faults []string
	// Ends are why it had to end where, such as "demux: unknown_client".
	Ends []string
	// Hops are in the order in which the frame travelled.
	Hops []TracedHop
	// Altered is the frame that was seen instead, and where the two differ. "" for none.
	Altered string
	// Kernel is what the kernel says of where it is missing. Nothing for a frame that is missing nowhere.
	Kernel []string
	// Dump are its first octets, if no batch describes it.
	Dump string
	// Alike is how many frames went wrong at the same taps in the same way, this one included.
	Alike int
}

// TracedHop is what had to be seen at a tap if everything before it had gone right, and what was.
type TracedHop struct {
	Tap       string
	Direction probe.Direction
	Tags      string
	Octets    uint16 // as at this tap
	Want, Got int
	Time      int64  // of the first sighting, in nanoseconds since 1970, 0 for none
	Fault     string // "missing" or "too many" where it went wrong; "" elsewhere, even if what is missing follows from it
	Kernel    string // why the kernel dropped what is missing, "" if it does not say
}

// What a [TracedHop]'s Fault may be.
const (
	faultMissing = "missing"
	faultTooMany = "too many"
)

// mostBrief is how many of a kind a brief verdict has.
const mostBrief = 100

// Brief is the verdict for a report of all specs: with the first frames alone that moves cost, and of a wrong frame's hops, which a flood has
// thousands of, the first where it went wrong and the first where it did not. The last hop tells how many are left out.
func (v *Verdict) Brief() *Verdict {
	brief := *v
	brief.Costs = v.Costs[:min(len(v.Costs), mostBrief)]
	brief.WrongFrames = slices.Clone(v.WrongFrames)
	for i := range brief.WrongFrames {
		brief.WrongFrames[i].Hops = briefHops(v.WrongFrames[i].Hops)
	}
	return &brief
}

func briefHops(all []TracedHop) (hops []TracedHop) {
	taken := map[bool]int{} // by whether it went wrong there
	for _, h := range all {
		if faulty := h.Fault != ""; taken[faulty] < mostBrief {
			taken[faulty]++
			hops = append(hops, h)
		}
	}
	if left := len(all) - len(hops); left > 0 {
		hops = append(hops, TracedHop{Tap: fmt.Sprintf("and %d more", left), Direction: all[len(all)-1].Direction})
	}
	return hops
}

// line is one row of a wrong frame's trace: what had to be seen if everything
// before it had gone right, and what was.
type line struct {
	row
	time      int64 // of the first sighting, 0 for none
	wrongHere bool  // it went wrong here, and not before
}

func (a *audit) explain(x *wrongFrame) WrongFrame {
	f := &a.table.frames[x.frame]
	lines := a.follow(f, x.rows)
	wrong := WrongFrame{Fingerprint: f.fingerprint, Frame: a.describe(f), Faults: x.faults, Altered: a.findAltered(f, lines), Dump: a.dump(f), Alike: x.alike}
	if seen := a.table.sightings(f); len(seen) > 0 {
		wrong.First, wrong.FirstTap = seen[0].time, a.plan.of(seen[0].side).name
	}
	for _, n := range x.notes {
		wrong.Ends = append(wrong.Ends, n.String())
	}
	for i := range lines {
		l := &lines[i]
		wrong.Hops = append(wrong.Hops, TracedHop{
			Tap: a.plan.of(l.side).name, Direction: l.side.direction(), Tags: l.tags.String(), Octets: l.length,
			Want: l.want, Got: l.got, Time: l.time, Fault: l.fault(),
		})
	}
	a.blame(f, &wrong)
	return wrong
}

func (l *line) fault() string {
	switch {
	case l.wrongHere && l.got < l.want:
		return faultMissing
	case l.wrongHere && l.got > l.want:
		return faultTooMany
	}
	return ""
}

// String is the trace as a table, after the frame's name.
func (f *WrongFrame) String() string {
	var w strings.Builder
	fmt.Fprintf(&w, "%s\n", f.Frame)
	if f.FirstTap != "" {
		fmt.Fprintf(&w, "  first seen %s at %s\n", Clock(f.First), f.FirstTap)
	} else {
		w.WriteString("  seen nowhere\n")
	}
	for _, fault := range f.Faults {
		fmt.Fprintf(&w, "  %s  ← wrong\n", fault)
	}
	for _, end := range f.Ends {
		fmt.Fprintf(&w, "  had to end at the %s\n", end)
	}
	table(&w, func(row func(...any)) {
		row("TAP", "DIRECTION", "TAGS", "OCTETS", "WANT", "GOT", "AFTER", "")
		for i := range f.Hops {
			h := &f.Hops[i]
			after, remark := "-", ""
			if h.Time != 0 {
				after = time.Duration(h.Time - f.First).String()
			}
			if h.Fault != "" {
				remark = "← " + h.Fault
			}
			if h.Kernel != "" {
				remark += ": " + h.Kernel
			}
			row(h.Tap, h.Direction, h.Tags, h.Octets, h.Want, h.Got, after, remark)
		}
	})
	for _, text := range f.Kernel {
		if !slices.ContainsFunc(f.Hops, func(h TracedHop) bool { return h.Kernel != "" && strings.HasSuffix(text, h.Kernel) }) {
			fmt.Fprintf(&w, "  %s\n", text)
		}
	}
	w.WriteString(f.Altered)
	w.WriteString(f.Dump)
	return w.String()
}

func (n note) String() string { return n.part.String() + ": " + n.why }

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
		if up || a.plan.of(x.side).role == a.plan.of(y.side).role {
			return s - t
		}
		return t - s
	})
}

// findAltered looks for a frame that was seen where this one is missing, from the same
// sender and as long, and that nobody sent: this one with other octets.
func (a *audit) findAltered(f *frame, lines []line) string {
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
			return fmt.Sprintf("  seen there instead, and sent by nobody: frame %s (%s → %s, EtherType %#04x)\n",
				g.fingerprint, g.source, g.dest, g.etherType) + a.compare(f, g)
		}
	}
	return ""
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
func (a *audit) compare(f, g *frame) string {
	want, ok := a.octets(f)
	got, also := a.octets(g)
	if !ok || !also {
		return ""
	}
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			end := min(i+8, len(want), len(got))
			return fmt.Sprintf("  octets differ from octet %d without tags on: want % x, got % x\n", i, want[i:end], got[i:end])
		}
	}
	return ""
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

const dumpOctets = 64

// dump shows how a frame that has no batch begins.
func (a *audit) dump(f *frame) string {
	if f.origin >= 0 {
		return ""
	}
	data, ok := a.data(f)
	if !ok {
		return ""
	}
	text := "  it begins\n"
	for _, l := range strings.Split(strings.TrimRight(hex.Dump(data[:min(len(data), dumpOctets)]), "\n"), "\n") {
		text += "    " + l + "\n"
	}
	return text
}
