package probe

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
)

// Step is one sighting of a journey: those of one frame at all taps of a lab, tap by tap, and at each in the order it saw them.
type Step struct {
	Sighting

	Tap int // index of the tap
	// Place among what the tap saw in that direction with that source and destination, from 1.
	Place int32
}

// journeyMagic begins a stream of journeys, each of which is
//
//	kind         uvarint: what it has in common with others, and 1 more if no frame was overtaken since the journey before it. From 2, each 2 more than
//	             the last, in the order they come; the first of a kind has journeyKind's octets behind it
//	places       varint for each step, how far it is from the next: only if one is
//	length       uvarint, at the first tap
//	fingerprint  8 octets, little endian
//	times        varint, since the journey before; of each further step since the step before
//
// The end is a kind 0 and a uvarint, the number of journeys, so that no cut goes unnoticed.
const journeyMagic = "vdjourn1"

// queue is frames at one tap in one direction from one source to one destination.
type queue struct {
	tap       int
	direction Direction
	flow      [12]byte // destination and source
}

// ranks are how many frames of each queue there were.
type ranks map[queue]*int32

func (r ranks) of(tap int, s *Sighting) *int32 {
	q := queue{tap: tap, direction: s.Direction, flow: [12]byte(append(s.Destination[:], s.Source[:]...))}
	if r[q] == nil {
		r[q] = new(int32)
	}
	return r[q]
}

// tapShape is what sightings at one tap have in common.
type tapShape struct {
	Sighting // without Fingerprint, Time and Length

	tap           int
	read, written *int32 // how many of its queue there were
}

// joined is a step without what is in its shape.
type joined struct {
	time                int64
	frame, shape, place int32
	length              uint16
}

// join is the sightings of all taps, by frame.
type join struct {
	shapes        []tapShape
	steps         []joined
	frames        map[Fingerprint]int32
	fingerprints  []Fingerprint // in the order they were first seen
	read, written ranks
}

func (j *join) add(tap int, sightings iter.Seq[Sighting]) {
	known := map[Sighting]int32{}
	for s := range sightings {
		shape := s
		shape.Fingerprint, shape.Time, shape.Length = 0, 0, 0
		at, ok := known[shape]
		if !ok {
			at = int32(len(j.shapes))
			known[shape] = at
			j.shapes = append(j.shapes, tapShape{shape, tap, j.read.of(tap, &s), j.written.of(tap, &s)})
		}
		frame, ok := j.frames[s.Fingerprint]
		if !ok {
			frame = int32(len(j.fingerprints))
			j.frames[s.Fingerprint] = frame
			j.fingerprints = append(j.fingerprints, s.Fingerprint)
		}
		*j.shapes[at].read++
		j.steps = append(j.steps, joined{s.Time, frame, at, *j.shapes[at].read, s.Length})
	}
}

// byFrame are the steps of each frame.
func (j *join) byFrame() iter.Seq2[Fingerprint, []joined] {
	ends := make([]int32, len(j.fingerprints)+1)
	for i := range j.steps {
		ends[j.steps[i].frame+1]++
	}
	for i := range j.fingerprints {
		ends[i+1] += ends[i]
	}
	sorted := make([]joined, len(j.steps))
	for i := range j.steps {
		at := &ends[j.steps[i].frame]
		sorted[*at] = j.steps[i]
		*at++
	}
	return func(yield func(Fingerprint, []joined) bool) {
		var start int32
		for i, fp := range j.fingerprints {
			if !yield(fp, sorted[start:ends[i]]) {
				return
			}
			start = ends[i]
		}
	}
}

// WriteJourneys joins what the taps saw, frame by frame, and writes it for [ReadJourneys]: a quarter of the octets of the
// sightings. It takes some 60 octets of memory a sighting.
func WriteJourneys(w io.Writer, taps []iter.Seq[Sighting]) error {
	j := join{frames: map[Fingerprint]int32{}, read: ranks{}, written: ranks{}}
	for i, sightings := range taps {
		j.add(i, sightings)
	}
	out := bufio.NewWriterSize(w, 64<<10)
	_, _ = out.WriteString(journeyMagic) // Flush has its error, and those of all that follows
	kinds, last := map[string]uint64{}, int64(0)
	var kind, b []byte
	for fp, steps := range j.byFrame() {
		kind = j.appendKind(kind[:0], steps)
		number, known := kinds[string(kind)]
		if !known {
			number = 2 * uint64(len(kinds)+1)
			kinds[string(kind)] = number
		}
		ordered := uint64(1)
		places := b[:0]
		for i := range steps {
			s := &steps[i]
			written := j.shapes[s.shape].written
			if s.place != *written+1 {
				ordered = 0
			}
			places = binary.AppendVarint(places, int64(s.place-*written-1))
			*written = s.place
		}
		_, _ = out.Write(binary.AppendUvarint(out.AvailableBuffer(), number+ordered))
		if !known {
			_, _ = out.Write(kind)
		}
		if ordered == 0 {
			_, _ = out.Write(places)
		}
		b = binary.AppendUvarint(places[:0], uint64(steps[0].length))
		b = binary.LittleEndian.AppendUint64(b, uint64(fp))
		b = binary.AppendVarint(b, steps[0].time-last)
		for i := range steps[1:] {
			b = binary.AppendVarint(b, steps[i+1].time-steps[i].time)
		}
		last = steps[0].time
		_, _ = out.Write(b)
	}
	_, _ = out.Write(binary.AppendUvarint([]byte{0}, uint64(len(j.fingerprints))))
	if err := out.Flush(); err != nil {
		return fmt.Errorf("writing the journeys of %d frames: %w", len(j.fingerprints), err)
	}
	return nil
}

// appendKind appends what frames that took the same way in the same form have in common: a uvarint, the number of steps, and of each the tap, its
// sighting's shape and how many octets longer it was than the first.
func (j *join) appendKind(b []byte, steps []joined) []byte {
	b = binary.AppendUvarint(b, uint64(len(steps)))
	for i := range steps {
		shape := &j.shapes[steps[i].shape]
		b = shape.appendShape(binary.AppendUvarint(b, uint64(shape.tap)))
		b = binary.AppendVarint(b, int64(steps[i].length)-int64(steps[0].length))
	}
	return b
}
