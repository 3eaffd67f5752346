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
	place  int32 // among its tap's sightings, from 1
	frame  int32 // index into frameTable.frames
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

// load reads the taps. The order within a tap says nothing about frames of different
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
	present := make([]bool, len(plan.taps))
	var most uint64
	for i := range taps {
		most += taps[i].Report.Frames
	}
	records := make([]record, 0, min(most, mostReserved))
	for i := range taps {
		t := &taps[i]
		number, ok := plan.named[t.Name]
		switch {
		case !ok:
			troubles = append(troubles, fmt.Sprintf("%s: the lab has no such tap", t.Name))
			continue
		case present[number]:
			troubles = append(troubles, fmt.Sprintf("%s: the tap is there twice", t.Name))
			continue
		}
		present[number] = true
		seen := 0
		for s, err := range t.Sightings {
			if err != nil {
				troubles = append(troubles, fmt.Sprintf("%s: reading its sightings: %v", t.Name, err))
				break
			}
			if s.Direction != probe.In && s.Direction != probe.Out {
				troubles = append(troubles, fmt.Sprintf("%s: sighting %d has %s", t.Name, seen, s.Direction))
				break
			}
			seen++
			if plan.taps[number].role == hostStack {
				s.Direction = probe.Out // of the demux
			}
			at := sideOf(number, s.Direction)
			ft.counts[at]++
			ft.octets[at] += uint64(s.Length)
			records = append(records, record{
				time: s.Time, place: int32(seen), frame: ft.frameOf(&s), length: s.Length, side: at,
				tags: stackOf(s.Stack()),
			})
		}
		if err := t.trouble(seen); err != nil {
			troubles = append(troubles, err.Error())
		}
	}
	for i, there := range present {
		if !there {
			troubles = append(troubles, plan.taps[i].name+": no sightings were given")
		}
	}
	ft.sort(records)
	return troubles
}

func (ft *frameTable) frameOf(s *probe.Sighting) int32 {
	i, ok := ft.index[s.Fingerprint]
	if !ok {
		i = ft.add(frame{fingerprint: s.Fingerprint, source: s.Source, dest: s.Destination, etherType: s.EtherType, origin: -1})
	}
	return i
}

func (ft *frameTable) add(f frame) int32 {
	i := int32(len(ft.frames))
	ft.frames = append(ft.frames, f)
	ft.index[f.fingerprint] = i
	return i
}

// sort groups the records by frame, and those of each by time.
func (ft *frameTable) sort(records []record) {
	for i := range records {
		ft.frames[records[i].frame].last++
	}
	var next int32
	for i := range ft.frames {
		f := &ft.frames[i]
		n := f.last
		f.first, f.last = next, next
		next += n
	}
	ft.records = make([]record, len(records))
	for i := range records {
		f := &ft.frames[records[i].frame]
		ft.records[f.last] = records[i]
		f.last++
	}
	for i := range ft.frames {
		slices.SortStableFunc(ft.sightings(&ft.frames[i]), func(x, y record) int { return cmp.Compare(x.time, y.time) })
	}
}

func (ft *frameTable) sightings(f *frame) []record { return ft.records[f.first:f.last] }
