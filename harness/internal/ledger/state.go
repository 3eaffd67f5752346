package ledger

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"time"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
	"github.com/vlandemux/vlandemux/harness/internal/topology"
)

// eventSlack is how far an event's time may be from that of the frame which caused
// it: the demux takes it from another clock than the taps and converts it.
const eventSlack = int64(20 * time.Millisecond)

// readLocation turns a location as the demux lists it into the value of a register.
func (a *audit) readLocation(l *control.Location) (uint64, error) {
	if l == nil {
		return 0, nil
	}
	trunk := 0
	for ; topology.TrunkName(trunk) != l.Trunk; trunk++ {
		if trunk == a.setup.Trunks {
			return 0, fmt.Errorf("the lab has no trunk %q", l.Trunk)
		}
	}
	protocols := map[string]uint16{"802.1Q": probe.Dot1Q, "802.1ad": probe.Dot1AD}
	if protocols[l.Protocol] == 0 {
		return 0, fmt.Errorf("VLAN protocol %q is neither 802.1Q nor 802.1ad", l.Protocol)
	}
	tci := l.VID | uint16(l.PCP)<<13
	if l.DEI {
		tci |= 1 << 12
	}
	return placeOf(trunk, protocols[l.Protocol], tci), nil
}

func locationName(place uint64) string {
	if place == 0 {
		return "no location"
	}
	return tagOf(place).String() + " on " + topology.TrunkName(trunkOf(place))
}

// checkState compares what the demux lists after the window with what must follow
// from the frames.
func (a *audit) checkState() {
	a.verdict.State = slices.Concat(a.verdict.State, a.in.marked(), a.in.badChecksums())
	complain := func(format string, args ...any) {
		a.verdict.State = append(a.verdict.State, fmt.Sprintf(format, args...))
	}
	if lost := a.in.After.EventsLost - a.in.Before.EventsLost; lost != 0 {
		complain("the demux says that it lost %d events: nobody reads them, or its ring is too small", lost)
	}
	if lost := a.in.After.PlacesLost - a.in.Before.PlacesLost; lost != 0 {
		complain("the demux had no memory for %d places: group frames may miss clients", lost)
	}
	if a.in.Assignments != nil {
		a.checkAssignments(complain)
	}
}

func (a *audit) checkEvents() {
	if a.in.Events == nil {
		return
	}
	events := a.in.Events(func(events []control.Event) bool { return len(a.wrongEvents(events)) == 0 })
	a.verdict.State = append(a.verdict.State, a.wrongEvents(events)...)
}

func (a *audit) checkAssignments(complain func(string, ...any)) {
	located := map[probe.MAC]control.ClientCounters{}
	for _, c := range a.in.After.Clients {
		located[c.MAC] = c
	}
	seen := make([]bool, len(a.history.names))
	for _, x := range a.in.Assignments {
		i, known := a.history.macs[x.MAC]
		if !known || seen[i] {
			complain("the demux lists an assignment of %s to %s: there must be none, or no second one", x.MAC, x.Worker)
			continue
		}
		seen[i] = true
		if want := a.workerAfter(i); want != x.Worker {
			complain("the demux lists %s as assigned to %q, want %q", x.MAC, x.Worker, want)
		}
		place, err := a.readLocation(x.Location)
		want := a.history.locations[i].legal(math.MaxInt64, math.MaxInt64, nil)
		switch {
		case err != nil:
			complain("the location of %s: %v", x.MAC, err)
		case !slices.Contains(want, place):
			complain("the demux lists %s at %s, want %s", x.MAC, locationName(place), locationNames(want))
		}
		other, err := a.readLocation(located[x.MAC].Location)
		if err != nil || other != place || located[x.MAC].Worker != x.Worker {
			complain("the counters list %s with worker %q at %s, the assignments with %q at %s",
				x.MAC, located[x.MAC].Worker, locationName(other), x.Worker, locationName(place))
		}
	}
	for i, mac := range a.history.names {
		if want := a.workerAfter(i); want != "" && !seen[i] {
			complain("the demux lists no assignment of %s, want one to %s", mac, want)
		}
	}
}

// workerAfter is the worker a MAC must be assigned to after the window, "" for none.
func (a *audit) workerAfter(mac int) string {
	if worker, _ := a.history.assigned[mac].last(); worker != 0 {
		return a.setup.Workers[worker-1].Name
	}
	return ""
}

func locationNames(places []uint64) string {
	text := ""
	for i, p := range places {
		if i > 0 {
			text += " or "
		}
		text += locationName(p)
	}
	return text
}

// event is one that the demux raised, in the ledger's own terms.
type event struct {
	from, to       uint64
	earliest, time int64 // when it was: the same, unless the dataplane looks now and then what has changed
	text           string
}

// within tells whether it can have been between two moments.
func (e *event) within(begin, end int64) bool {
	return begin-eventSlack <= e.time && e.earliest <= end+eventSlack
}

// wrongEvents names what is wrong with the events. For each there must be a frame
// that caused it; those of one MAC must follow from one another; and each frame
// that certainly came from a new place must have raised one.
func (a *audit) wrongEvents(all []control.Event) (wrong []string) {
	a.forget(all)
	events, refusals := make([][]event, len(a.history.names)), make([][]int64, len(a.history.names))
	for _, x := range all {
		i, known := a.history.macs[x.MAC]
		from, err := a.readLocation(x.From)
		to, err2 := a.readLocation(x.To)
		e := event{from: from, to: to, earliest: earliest(&x), time: x.Time.UnixNano()}
		e.text = fmt.Sprintf("event %q of %s at %s, from %s to %s", x.Type, x.MAC, Clock(e.time), locationName(from), locationName(to))
		kind := "moved"
		switch {
		case to == 0:
			kind = "forgotten"
		case from == 0:
			kind = "learned"
		}
		switch {
		case !known:
			wrong = append(wrong, e.text+": the MAC is not assigned")
		case err == nil && err2 == nil && x.Type == "wrong_place":
			if !a.refused(i, &e) {
				wrong = append(wrong, e.text+": no frame came from there, or it may be there")
			}
			refusals[i] = append(refusals[i], e.time)
		case err != nil || err2 != nil || x.Type != kind || from|to == 0:
			wrong = append(wrong, e.text+": it makes no sense")
		case to == 0 && !a.unused(i, &e):
			wrong = append(wrong, e.text+": it was not unused for as long as locations are kept")
		case to == 0 && !slices.Contains(a.history.locations[i].legal(e.earliest-eventSlack, e.time+eventSlack, nil), from):
			wrong = append(wrong, e.text+": it was not there")
		case from&vidOnly == to&vidOnly:
			wrong = append(wrong, e.text+": the place has not changed")
		case !a.caused(i, &e):
			wrong = append(wrong, e.text+": no frame has caused it")
		default:
			events[i] = append(events[i], e)
		}
	}
	if a.in.EventsMissed {
		return wrong // the watch was interrupted: some may be missing
	}
	for i := range events {
		wrong = append(wrong, a.wrongRefusals(i, refusals[i])...)
		if !a.renewed(i) {
			wrong = append(wrong, a.brokenChain(i, events[i])...)
		} else if n, most := countLearned(events[i]), a.mostLearned(i); n > most {
			wrong = append(wrong, fmt.Sprintf("%d events say that %s was learned, at most %d can", n, a.history.names[i], most))
		}
		wrong = slices.Concat(wrong, a.missingEvents(i, events[i]), a.unforgotten(i))
	}
	return wrong
}

// earliest is when an event can have been at the earliest: at its time, unless it says otherwise.
func earliest(x *control.Event) int64 {
	if x.Earliest.IsZero() {
		return x.Time.UnixNano()
	}
	return x.Earliest.UnixNano()
}

// mostLearned is how often a MAC can have been learned: once each time it was
// assigned, and once more if it was assigned before the window and not yet seen.
func (a *audit) mostLearned(mac int) int {
	n := a.history.renewals[mac].times
	if slices.Contains(a.history.locations[mac].initial, 0) && !slices.Contains(a.history.assigned[mac].initial, 0) {
		n++
	}
	return n
}

// countLearned is how often a MAC was learned without having been forgotten.
func countLearned(events []event) (n int) {
	for _, e := range events {
		if e.from == 0 {
			n++
		}
		if e.to == 0 {
			n--
		}
	}
	return n
}

// renewed tells whether a MAC was assigned or unassigned within the window: its
// location was forgotten then, without an event.
func (a *audit) renewed(mac int) bool {
	return slices.ContainsFunc(a.setup.Changes, func(c Change) bool { return c.MAC == a.history.names[mac] })
}

// refused tells whether a frame from where a MAC may not be can have raised an event.
func (a *audit) refused(mac int, e *event) bool {
	return slices.ContainsFunc(a.history.refusals[mac], func(w write) bool {
		return w.value == e.to && e.within(w.begin, w.end) &&
			slices.Contains(a.history.locations[mac].legal(w.begin, w.end, nil), e.from)
	})
}

// refusalsApart is how long the demux says nothing more of a MAC that is where it may not be.
const refusalsApart = int64(time.Second)

// wrongRefusals compares when the demux has said that a MAC was where it may not be with when it has to:
// with each frame from there, but for those within a second of the last it said so of. That one can be in the window before.
func (a *audit) wrongRefusals(mac int, times []int64) []string {
	slices.Sort(times)
	for i := 1; i < len(times); i++ {
		if times[i]-times[i-1] < refusalsApart-2*eventSlack {
			return []string{fmt.Sprintf("two events at %s and %s say that %s was where it may not be: at most one a second can", Clock(times[i-1]), Clock(times[i]), a.history.names[mac])}
		}
	}
	for _, w := range a.history.refusals[mac] {
		if w.optional || a.setup.SwitchKnows || slices.ContainsFunc(times, func(at int64) bool {
			return w.begin-refusalsApart-eventSlack <= at && at <= w.end+eventSlack
		}) {
			continue
		}
		return []string{fmt.Sprintf("no event of the second before %s says that %s was at %s, where it may not be", Clock(w.end), a.history.names[mac], locationName(w.value))}
	}
	return nil
}

// caused tells whether a frame can have raised an event.
func (a *audit) caused(mac int, e *event) bool {
	r := &a.history.locations[mac]
	begun := sort.Search(len(r.writes), func(i int) bool { return r.writes[i].begin-eventSlack > e.time })
	for _, w := range slices.Backward(r.writes[:begun]) { // the last are those around that time
		if w.value == e.to && e.within(w.begin, w.end) && slices.Contains(r.legal(w.begin, w.end, nil), e.from) {
			return true
		}
	}
	return false
}

// brokenChain names the first event of a MAC that does not begin where the one
// before it has ended. Two processors can hand over two events in the other order.
func (a *audit) brokenChain(mac int, events []event) []string {
	places := a.history.locations[mac].initial
	rest := slices.Clone(events)
	for len(rest) > 0 {
		next := slices.IndexFunc(rest, func(e event) bool {
			return e.earliest-rest[0].time <= eventSlack &&
				slices.ContainsFunc(places, func(p uint64) bool { return p&vidOnly == e.from&vidOnly })
		})
		if next < 0 {
			return []string{rest[0].text + ": it was at " + locationNames(places)}
		}
		places = []uint64{rest[next].to}
		rest = slices.Delete(rest, next, next+1)
	}
	after := a.history.locations[mac].legal(math.MaxInt64, math.MaxInt64, nil)
	for _, p := range places {
		if slices.ContainsFunc(after, func(q uint64) bool { return p&vidOnly == q&vidOnly }) {
			return nil
		}
	}
	return []string{fmt.Sprintf("after its last event %s is at %s, but its frames came from %s",
		a.history.names[mac], locationNames(places), locationNames(after))}
}

// missingEvents names the first frame of a MAC that must have raised an event and
// has not.
func (a *audit) missingEvents(mac int, events []event) []string {
	r := &a.history.locations[mac]
	for _, run := range r.epochs {
		w := r.writes[run.first]
		before := r.legal(w.begin-1, w.begin-1, nil)
		if w.optional || w.value == 0 || slices.ContainsFunc(before, func(p uint64) bool { return p&vidOnly == w.value&vidOnly }) {
			continue
		}
		if !slices.ContainsFunc(events, func(e event) bool {
			return e.to&vidOnly == w.value&vidOnly && e.within(w.begin, w.end)
		}) {
			return []string{fmt.Sprintf("no event says that %s came to %s at %s", a.history.names[mac], locationName(w.value), Clock(w.begin))}
		}
	}
	return nil
}
