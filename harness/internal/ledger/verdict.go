package ledger

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
	"github.com/vlandemux/vlandemux/harness/internal/drops"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// shownFrames is how many accounts of wrong frames are traced, toldAccounts how many an error tells.
const shownFrames, toldAccounts = 10, 3

// Verdict is what Check found. It is read-only and safe for concurrent use, and says the same after a way through JSON.
type Verdict struct {
	// Sent is all batches: wire frames and octets as they left.
	Sent control.Tally
	// Frames is how many different frames were seen or sent. Identical ones are one.
	Frames int
	// Taps are the totals of each tap, in the order of Setup.Taps.
	Taps []TapTotal
	// LongestPacket is the octets of the longest packet at any tap, a super-packet whole.
	LongestPacket int
	// Switch and Demux are what came into each and what had to become of it.
	Switch, Demux PartTotal
	// Costs are the frames that moves cost, in time.
	Costs []Cost
	// Wrong is how many frames were not exactly where they had to be.
	Wrong int
	// Sides tells where those were missing or too many.
	Sides []SideTotal
	// Counters are those of the demux's that disagree.
	Counters []Difference
	// Learned is where the demux has to know each MAC after the window: one
	// location, or each of those it can have been left with.
	Learned map[probe.MAC][]Location `json:"-"`
	// State is the packets that the demux sent on with a mark, a priority or a wrong
	// checksum, and what it lists of assignments and locations, and the events it raised,
	// where that does not follow from the frames. A sentence for each.
	State []string
	// Senders are the batches whose sender reports something else than the batch.
	Senders []string
	// Incomplete is what makes a verdict impossible.
	Incomplete []string
	// WrongFrames are the first of each account, of those at most ten that came first.
	WrongFrames []WrongFrame
	// Rejected are all wrong frames, for a capture; at most 10,000.
	Rejected []Rejected `json:"-"`
	// Dropped is what the kernel has dropped in the lab's namespaces, if anything was wrong.
	Dropped []drops.Total
	// Held is how long the links, the switch and the demux kept frames.
	Held [theDemux + 1]Held
	// Paths are all frames, grouped by the way they took. Those with wrong frames come first.
	Paths []Path
	// Counted are the demux's counters that counted anything in the window, or had to. Of
	// clients it has the first 128.
	Counted []Difference
}

// TapTotal is what one tap saw, octets as they were at that tap.
type TapTotal struct {
	Name    string
	In, Out control.Tally
}

// PartTotal is what came into the switch or the demux in frames, and what became of
// each: In = Forwarded + all of Ended.
type PartTotal struct {
	In        uint64
	Forwarded uint64
	// Copies is how many frames the forwarded ones were afterwards.
	Copies uint64
	// Ended are the frames that left nowhere, by reason.
	Ended map[string]uint64
}

func (t *PartTotal) count(o *outcome, copies int) {
	t.In++
	if o.why != "" && copies == 0 {
		if t.Ended == nil {
			t.Ended = map[string]uint64{}
		}
		t.Ended[o.why]++
		return
	}
	t.Forwarded++
	t.Copies += uint64(copies)
}

func (t *PartTotal) reasons() []string { return slices.Sorted(maps.Keys(t.Ended)) }

// SideTotal is how many sightings of wrong frames were missing, or too many, in one
// direction at one tap.
type SideTotal struct {
	Tap            string
	Direction      probe.Direction
	Missing, Extra int
}

// Difference is a counter of the demux that disagrees with the frames seen.
type Difference struct {
	Kind, Name string // "rx" of a MAC, "tx" of a MAC, "flooded" of a worker, "passed", "dropped" for a reason
	Want, Got  control.Tally
	Wrong      bool
}

// Err is nil if everything was as it had to be. Else it says what was not: first
// what makes a verdict impossible, if anything does, and nothing more in that case.
func (v *Verdict) Err() error {
	if len(v.Incomplete) > 0 {
		return errors.New("inconclusive: the captures are incomplete:\n  " + strings.Join(v.Incomplete, "\n  "))
	}
	if v.Wrong == 0 && len(v.Counters) == 0 && len(v.State) == 0 && len(v.Senders) == 0 {
		return nil
	}
	return errors.New(v.complaint(toldAccounts))
}

// Inconclusive tells whether a tap lost frames or something else made a verdict
// impossible.
func (v *Verdict) Inconclusive() bool { return len(v.Incomplete) > 0 }

func (v *Verdict) of(p part) *PartTotal {
	if p == theSwitch {
		return &v.Switch
	}
	return &v.Demux
}

func (v *Verdict) total(a *audit) {
	v.Frames = len(a.table.frames)
	for i, t := range a.plan.taps {
		in, out := sideOf(i, probe.In), sideOf(i, probe.Out)
		v.Taps = append(v.Taps, TapTotal{
			Name: t.name,
			In:   control.Tally{Packets: a.table.counts[in], Bytes: a.table.octets[in]},
			Out:  control.Tally{Packets: a.table.counts[out], Bytes: a.table.octets[out]},
		})
	}
	for i := range a.in.Taps {
		v.LongestPacket = max(v.LongestPacket, a.in.Taps[i].Report.Longest)
	}
	v.Sides = make([]SideTotal, 2*len(a.plan.taps))
}

func (v *Verdict) addWrong(a *audit, index int32) {
	v.Wrong++
	f := &a.table.frames[index]
	var first int64
	if seen := a.table.sightings(f); len(seen) > 0 {
		first = seen[0].time
	}
	for _, r := range a.rows {
		s := &v.Sides[r.side]
		s.Missing += max(0, r.want-r.got)
		s.Extra += max(0, r.got-r.want)
	}
	a.groupWrong(index, first)
}

// finish traces the wrong frames, after which all frames can be forgotten.
func (v *Verdict) finish(a *audit) {
	for i := range v.Sides {
		s := side(i)
		v.Sides[i].Tap, v.Sides[i].Direction = a.plan.of(s).name, s.direction()
	}
	v.Sides = slices.DeleteFunc(v.Sides, func(s SideTotal) bool { return s.Missing == 0 && s.Extra == 0 })
	slices.SortStableFunc(v.Costs, func(x, y Cost) int { return cmp.Compare(x.Time, y.Time) })
	for _, first := range a.firstOfEachAccount() {
		v.WrongFrames = append(v.WrongFrames, a.explain(first))
	}
	v.Rejected = a.reject()
	v.Paths = a.paths.list()
	if v.Err() != nil {
		v.Dropped = a.kernel().Totals
	}
}
