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

// rank is how many frames of a queue there were.
type rank struct{ read, written int32 }

type ranks map[queue]*rank

func (r ranks) of(tap int, s *Sighting) *rank {
	q := queue{tap: tap, direction: s.Direction}
	copy(q.flow[copy(q.flow[:], s.Destination[:]):], s.Source[:])
	of := r[q]
	if of == nil {
		of = &rank{}
		r[q] = of
	}
	return of
}

// tapShape is what sightings at one tap have in common.
type tapShape struct {
	Sighting // its Fingerprint, Time and Length are those of the first

	tap  int
	rank *rank
	last int32 // the number of the frame before, from 1; 0 for none
}

// joined is a step without what is in its shape.
type joined struct {
	time                int64
	frame, shape, place int32
	length              uint16
}

// stepsAtATime are allocated together.
const stepsAtATime = 1 << 10

// join is the sightings of all taps, by frame.
type join struct {
	shapes       []tapShape
	steps        [][]joined // each but the last stepsAtATime
	frames       map[Fingerprint]int32
	fingerprints []Fingerprint // in the order they were first seen
	behind       []int32       // by a shape's last: the frame that came behind it, where that was seen before. A lookup costs more than a look there
	ranks        ranks
}

func (j *join) add(tap int, sightings iter.Seq2[int, Sighting]) {
	first := len(j.shapes)
	for shape, s := range sightings {
		at := first + shape
		if at == len(j.shapes) {
			j.shapes = append(j.shapes, tapShape{Sighting: s, tap: tap, rank: j.ranks.of(tap, &s)})
		}
		known := &j.shapes[at]
		known.rank.read++
		frame := j.behind[known.last]
		if int(frame) >= len(j.fingerprints) || j.fingerprints[frame] != s.Fingerprint {
			frame = j.frame(s.Fingerprint)
			j.behind[known.last] = frame
		}
		known.last = frame + 1
		last := len(j.steps) - 1
		if last < 0 || len(j.steps[last]) == stepsAtATime {
			j.steps, last = append(j.steps, make([]joined, 0, stepsAtATime)), last+1
		}
		j.steps[last] = append(j.steps[last], joined{s.Time, frame, int32(at), known.rank.read, s.Length})
	}
}

func (j *join) frame(fp Fingerprint) int32 {
	frame, ok := j.frames[fp]
	if !ok {
		frame = int32(len(j.fingerprints))
		j.frames[fp] = frame
		j.fingerprints, j.behind = append(j.fingerprints, fp), append(j.behind, 0)
	}
	return frame
}

// byFrame are the steps of each frame.
func (j *join) byFrame() iter.Seq2[Fingerprint, []joined] {
	ends := make([]int32, len(j.fingerprints)+1)
	for _, steps := range j.steps {
		for i := range steps {
			ends[steps[i].frame+1]++
		}
	}
	for i := range j.fingerprints {
		ends[i+1] += ends[i]
	}
	sorted := make([]joined, ends[len(j.fingerprints)])
	for _, steps := range j.steps {
		for i := range steps {
			at := &ends[steps[i].frame]
			sorted[*at] = steps[i]
			*at++
		}
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
// sightings. It takes some 60 octets of memory a sighting. Beside each is a number: from 0, in the order they come, and the same only for what differs in
// Fingerprint, Time and Length alone.
func WriteJourneys(w io.Writer, taps []iter.Seq2[int, Sighting]) error {
	j := join{frames: map[Fingerprint]int32{}, behind: []int32{0}, ranks: ranks{}}
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
			rank := j.shapes[s.shape].rank
			if s.place != rank.written+1 {
				ordered = 0
			}
			places = binary.AppendVarint(places, int64(s.place-rank.written-1))
			rank.written = s.place
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
