package ledger

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// record is one sighting, without what all sightings of a frame have in common.
type record struct {
	time   int64 // the stamp, in nanoseconds since 1970
	place  int32 // among its side's of one source and destination, from 1
	length uint16
	side   side
	tags   stack
}

// frame is one fingerprint. Identical frames share it.
type frame struct {
	fingerprint  probe.Fingerprint
	source, dest probe.MAC
	etherType    uint16
	first, last  int32 // its records are frameTable.records[first:last]
	origin       int32 // index into frameTable.origins of where a batch sent it, -1 for nowhere
}

// origin is where a batch sent a frame.
type origin struct {
	batch, number int32 // index into Input.Sent, and of the wire frame within the batch
	side          side
	tags          stack
	length        uint16
	next          int32 // the same frame sent once more, -1 for no more
}

// frameTable is every sighting of every tap, by frame.
type frameTable struct {
	frames  []frame
	index   map[probe.Fingerprint]int32
	origins []origin
	records []record // by frame, then time
	octets  []uint64 // by side
	counts  []uint64 // by side
}

// mostReserved bounds how many records or frames reports alone make room for.
const mostReserved = 1 << 24

// load reads what the taps saw. The order within a tap says nothing about frames of different
// processors: the kernel takes a place in the ring for a frame first and stamps it
// later, or has stamped it when it was queued. The stamp is never later than the
// moment from which a part could handle the frame.
func (ft *frameTable) load(plan *layout, in *Input) (troubles []string) {
	taps := in.Taps
	var sent uint64
	for i := range in.Sent {
		sent += in.Sent[i].Report.Frames
	}
	ft.frames = make([]frame, 0, min(sent, mostReserved))
	ft.index = make(map[probe.Fingerprint]int32, min(sent, mostReserved))
	ft.octets, ft.counts = make([]uint64, 2*len(plan.taps)), make([]uint64, 2*len(plan.taps))
	numbers, trouble := plan.number(taps)
	if len(trouble) > 0 {
		return trouble
	}
	var most uint64
	for i := range taps {
		most += taps[i].Report.Frames
	}
	ft.records = make([]record, 0, min(most, mostReserved))
	seen := make([]uint64, len(taps))
	for steps, err := range in.Journeys {
		if err == nil {
			err = ft.addJourney(plan, numbers, seen, steps)
		}
		if err != nil {
			troubles = append(troubles, fmt.Sprintf("reading what the taps saw: %v", err))
			break
		}
	}
	for i := range taps {
		if err := taps[i].trouble(seen[i]); err != nil {
			troubles = append(troubles, err.Error())
		}
	}
	return troubles
}

// dropsEarly tells of a frame on a trunk whether the demux drops it where no tap sees it.
func (s *Setup) dropsEarly(source probe.MAC, tags stack) bool {
	return s.EarlyDrop && s.Assignments[source] == "" && station(source) && tags.vlan() && tags.outer().VID() != 4095
}

// number finds the layout's taps: each has to be there once.
func (l *layout) number(taps []Tap) (numbers []int, troubles []string) {
	numbers = make([]int, len(taps))
	present := make([]bool, len(l.taps))
	for i := range taps {
		number, ok := l.named[taps[i].Name]
		switch {
		case !ok:
			troubles = append(troubles, fmt.Sprintf("%s: the lab has no such tap", taps[i].Name))
			continue
		case present[number]:
			troubles = append(troubles, fmt.Sprintf("%s: the tap is there twice", taps[i].Name))
		}
		numbers[i], present[number] = number, true
	}
	for i, there := range present {
		if !there {
			troubles = append(troubles, l.taps[i].name+": nothing was given of what it saw")
		}
	}
	return numbers, troubles
}

// addJourney adds a frame's records, in order of time.
func (ft *frameTable) addJourney(plan *layout, numbers []int, seen []uint64, steps []probe.Step) error {
	s := &steps[0]
	if _, again := ft.index[s.Fingerprint]; again {
		return fmt.Errorf("frame %s is there twice", s.Fingerprint)
	}
	first := int32(len(ft.records))
	for i := range steps {
		s := &steps[i]
		if s.Tap < 0 || s.Tap >= len(numbers) || s.Direction != probe.In && s.Direction != probe.Out {
			return fmt.Errorf("frame %s was seen %s at tap %d of %d", s.Fingerprint, s.Direction, s.Tap, len(numbers))
		}
		number, direction := numbers[s.Tap], s.Direction
		if plan.taps[number].role == hostStack {
			direction = probe.Out // of the demux
		}
		sighting := record{time: s.Time, place: s.Place, length: s.Length, tags: stackOf(s.Stack())}
		if tap := plan.taps[number]; tap.past && direction == probe.In {
			sighting.side = sideOf(tap.peer, probe.Out) // so that the demux answers for it
			ft.records = append(ft.records, sighting)
		}
		at := sideOf(number, direction)
		ft.counts[at]++
		ft.octets[at] += uint64(s.Length)
		seen[s.Tap]++
		sighting.side = at
		ft.records = append(ft.records, sighting)
		if tap := plan.taps[number]; tap.role == switchEnd && direction == probe.Out && plan.setup.dropsEarly(s.Source, sighting.tags) {
			sighting.side = sideOf(tap.peer, probe.In) // so that the demux answers for it
			ft.records = append(ft.records, sighting)
		}
	}
	slices.SortStableFunc(ft.records[first:], func(x, y record) int { return cmp.Compare(x.time, y.time) })
	ft.add(frame{
		fingerprint: s.Fingerprint, source: s.Source, dest: s.Destination, etherType: s.EtherType, origin: -1,
		first: first, last: int32(len(ft.records)),
	})
	return nil
}

func (ft *frameTable) add(f frame) int32 {
	i := int32(len(ft.frames))
	ft.frames = append(ft.frames, f)
	ft.index[f.fingerprint] = i
	return i
}

func (ft *frameTable) sightings(f *frame) []record { return ft.records[f.first:f.last] }
