package ledger

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/harness/internal/drops"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// Check compares what a lab sent, saw and counted with what its description
// demands. It reads each tap's sightings once and uses no more than one processor.
func (s *Setup) Check(in *Input) *Verdict {
	v := &Verdict{}
	plan := newLayout(s)
	a := &audit{setup: s, in: in, plan: plan, verdict: v}
	v.Incomplete = append(v.Incomplete, a.table.load(plan, in)...)
	a.expect()
	v.total(a)
	if len(v.Incomplete) > 0 {
		return v
	}
	a.remember()
	a.checkEvents()
	a.checkFrames()
	for _, t := range a.counters.compare(a.history, &in.Before, &in.After) {
		v.Counters = append(v.Counters, Difference{Kind: t.kind, Name: t.name, Want: t.want, Got: t.got, Wrong: true})
	}
	v.Counted = a.counters.counted()
	a.checkState()
	v.State = append(v.State, a.mistakes()...)
	v.Learned = a.history.learned()
	v.finish(a)
	return v
}

// audit is one Check under way.
type audit struct {
	setup        *Setup
	in           *Input
	plan         *layout
	table        frameTable
	verdict      *Verdict
	history      *history
	counters     *counters
	alternatives alternatives
	refSwitch    *refSwitch
	refDemux     reference
	sockets      []bool // by tap: what leaves there needs no batch

	ins     []pass
	outs    []record
	choices []choice
	rows    []row
	notes   []note
	faults  []string // what is wrong with a frame besides

	wrong    map[string]*wrongFrame // by account
	rejected []rejected

	dropped *drops.Report // nil until it is asked for
	paths   paths
}

// note is why a frame had to end at a part.
type note struct {
	part part
	why  string
}

func (a *audit) expect() {
	a.sockets = make([]bool, len(a.plan.taps))
	for _, name := range a.in.Sockets {
		found := false
		for i, t := range a.plan.taps {
			if t.role.part() == endpoint && strings.HasPrefix(t.name, name+"/") {
				a.sockets[i], found = true, true
			}
		}
		if !found {
			a.verdict.Incomplete = append(a.verdict.Incomplete, fmt.Sprintf("sockets of %q: the lab has no such client or worker", name))
		}
	}
	for i := range a.in.Sent {
		s := &a.in.Sent[i]
		tap, ok := a.plan.named[s.Tap]
		if !ok {
			a.verdict.Incomplete = append(a.verdict.Incomplete, fmt.Sprintf("batch %q was sent at %s: the lab has no such tap", s.Batch.Name, s.Tap))
			continue
		}
		var frames, octets uint64
		at := sideOf(tap, probe.Out)
		for n, data := range s.Batch.AllFrames() {
			frames++
			octets += uint64(len(data))
			a.originate(data, origin{batch: int32(i), number: int32(n), side: at, length: uint16(len(data))})
		}
		if r := &s.Report; r.Error != "" || r.Frames != frames || r.Octets != octets {
			trouble := fmt.Sprintf("batch %q at %s is %d frames of %d octets; the sender reports %d of %d",
				s.Batch.Name, s.Tap, frames, octets, r.Frames, r.Octets)
			if r.Error != "" {
				trouble += ": " + r.Error
			}
			a.verdict.Senders = append(a.verdict.Senders, trouble)
		}
		a.verdict.Sent.Packets += frames
		a.verdict.Sent.Bytes += octets
	}
}

func (a *audit) originate(data []byte, o origin) {
	o.tags = stackIn(data)
	fp := probe.FingerprintOf(data)
	i, ok := a.table.index[fp]
	if !ok {
		f := frame{fingerprint: fp, origin: -1, first: int32(len(a.table.records)), last: int32(len(a.table.records))}
		copy(f.dest[:], data)
		copy(f.source[:], data[6:])
		f.etherType = etherTypeOf(data)
		i = a.table.add(f)
	}
	f := &a.table.frames[i]
	o.next = f.origin
	f.origin = int32(len(a.table.origins))
	a.table.origins = append(a.table.origins, o)
}

// remember lets both parts learn from everything they saw, so that what they knew
// at any time can be asked afterwards.
func (a *audit) remember() {
	a.history = newHistory(a.setup)
	a.counters = newCounters(a.setup, a.history)
	a.refSwitch = &refSwitch{history: a.history, plan: a.plan, alternatives: &a.alternatives}
	a.refDemux = a.reference()
	for i := range a.table.frames {
		f := &a.table.frames[i]
		a.collect(f, theSwitch)
		for j := range a.ins {
			a.refSwitch.learn(f, &a.ins[j], a.outs)
		}
		a.collect(f, theDemux)
		for j := range a.ins {
			a.refDemux.learn(f, &a.ins[j], a.outs)
		}
	}
	a.history.forget()
}

// reference is what the dataplane of the lab has to do.
func (a *audit) reference() reference {
	if a.setup.Reference != nil {
		return &otherContract{Reference: a.setup.Reference, plan: a.plan, alternatives: &a.alternatives, wrong: map[string]bool{}}
	}
	d := &refDemux{
		history: a.history, plan: a.plan, alternatives: &a.alternatives, counters: a.counters, passUntagged: a.setup.PassUntagged, passUnknown: a.setup.Unknown == demux.UnknownPass,
		groupLimit: a.setup.GroupLimit, groups: map[int][]int64{}, trunkMTU: a.setup.TrunkMTU,
	}
	for i, w := range a.setup.Workers {
		if w.Name == a.setup.Unknown {
			d.unknown = i + 1
		}
	}
	return d
}

// collect gathers what came into a part and what left it of one frame, and works
// out between which moments the part handled each. Of several that came in it cannot
// be known which of those that left is whose, or that any is.
func (a *audit) collect(f *frame, p part) {
	a.ins, a.outs = a.ins[:0], a.outs[:0]
	for _, r := range a.table.sightings(f) {
		if a.plan.of(r.side).role.part() != p {
			continue
		}
		if r.side.out() {
			a.outs = append(a.outs, r)
		} else {
			a.ins = append(a.ins, pass{record: r})
		}
	}
	for i := range a.ins {
		in := &a.ins[i]
		in.learnedBy, in.doneBy = in.time+handlingTime, in.time+handlingTime
		if len(a.ins) == 1 && len(a.outs) > 0 {
			in.learnedBy, in.doneBy = max(in.time, a.outs[0].time), max(in.time, a.outs[len(a.outs)-1].time)
		}
	}
}

func (a *audit) checkFrames() {
	disorder := a.disorder()
	for i := range a.table.frames {
		f := &a.table.frames[i]
		a.rows, a.notes, a.faults = a.rows[:0], a.notes[:0], a.faults[:0]
		if fault := disorder[int32(i)]; fault != "" {
			a.faults = append(a.faults, fault)
		}
		costs := len(a.verdict.Costs)
		a.checkOrigin(f)
		a.checkLinks(f)
		a.checkCarried(f)
		a.checkPart(f, theSwitch)
		a.checkPart(f, theDemux)
		wrong := len(a.faults) > 0 || slices.ContainsFunc(a.rows, row.wrong)
		a.paths.add(a, f, wrong)
		if wrong {
			a.verdict.addWrong(a, int32(i))
			a.verdict.Costs = a.verdict.Costs[:costs] // a fault, whatever else it is
		}
	}
}

// row is how often a frame had to be seen in one form, and how often it was.
type row struct {
	emission
	want, got int
}

func (r row) wrong() bool { return r.want != r.got }

func (a *audit) row(s side, length uint16, tags stack) *row {
	for i := range a.rows {
		r := &a.rows[i]
		if r.matches(s, length, tags) {
			return r
		}
	}
	a.rows = append(a.rows, row{emission: emission{side: s, length: length, tags: tags}})
	return &a.rows[len(a.rows)-1]
}

// checkOrigin checks that clients and workers sent what they had to, and nothing else.
func (a *audit) checkOrigin(f *frame) {
	for i := f.origin; i >= 0; i = a.table.origins[i].next {
		o := &a.table.origins[i]
		if a.plan.of(o.side).role.part() == endpoint {
			a.row(o.side, o.length, o.tags).want++
		}
	}
	for _, r := range a.table.sightings(f) {
		if !r.side.out() || a.plan.of(r.side).role.part() != endpoint {
			continue
		}
		row := a.row(r.side, r.length, r.tags)
		row.got++
		if a.sockets[r.side.tap()] && row.want < row.got {
			row.want++
		}
	}
}

// checkLinks checks that both ends of every link saw the same.
func (a *audit) checkLinks(f *frame) {
	for _, r := range a.table.sightings(f) {
		if r.side.out() {
			if far, on := a.plan.far(r.side); on && !a.endsAtTag(f, &r) && (!a.severed(&r) || a.seenAt(f, far)) {
				a.row(far, r.length, r.tags).want++
			}
		} else {
			a.row(r.side, r.length, r.tags).got++
		}
	}
}

// severed tells whether a frame was on the link of a worker that was going.
func (a *audit) severed(r *record) bool {
	at := a.plan.of(r.side)
	return (at.role == workerPort || at.role == workerEnd) && a.history.severed(at.index, r)
}

func (a *audit) seenAt(f *frame, s side) bool {
	return slices.ContainsFunc(a.table.sightings(f), func(r record) bool { return r.side == s })
}
