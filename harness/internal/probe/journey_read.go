package probe

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
)

// ReadJourneys decodes what [WriteJourneys] wrote, frame by frame, and ends after the first error, if any. A stream that ends
// early is an error. The steps are valid until the next.
func ReadJourneys(r io.Reader) iter.Seq2[[]Step, error] {
	return func(yield func([]Step, error) bool) {
		d := journeyReader{r: bufio.NewReaderSize(r, 64<<10), ranks: ranks{}}
		var start [len(journeyMagic)]byte
		if _, err := io.ReadFull(d.r, start[:]); err != nil {
			yield(nil, fmt.Errorf("reading journeys: %w", noEOF(err)))
			return
		}
		if string(start[:]) != journeyMagic {
			yield(nil, fmt.Errorf("reading journeys: they begin with %q, want %q", start, journeyMagic))
			return
		}
		for n := uint64(0); ; n++ {
			steps := d.next()
			switch {
			case d.err != nil:
				yield(nil, fmt.Errorf("reading journey %d: %w", n, noEOF(d.err)))
				return
			case len(steps) == 0:
				if written := d.uvarint(); written != n || d.err != nil {
					yield(nil, errors.Join(fmt.Errorf("reading journeys: %d arrived of %d", n, written), noEOF(d.err)))
				}
				return
			}
			if !yield(steps, nil) {
				return
			}
		}
	}
}

// journeyReader is what has to be known of the journeys before the next.
type journeyReader struct {
	r     *bufio.Reader
	err   error // the first
	kinds []journeyKind
	ranks ranks
	last  int64 // when the one before began
}

// journeyKind is its steps, with their lengths beyond the first's, and how many frames of their queues there were.
type journeyKind struct {
	steps []Step
	ranks []*rank
}

func (d *journeyReader) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

func (d *journeyReader) uvarint() uint64 {
	n, err := binary.ReadUvarint(d.r)
	d.fail(err)
	return n
}

func (d *journeyReader) varint() int64 {
	n, err := binary.ReadVarint(d.r)
	d.fail(err)
	return n
}

// next is the next journey's steps, none at the end or after an error.
func (d *journeyReader) next() []Step {
	number := d.uvarint()
	at, ordered := number/2, number%2 == 1
	switch known := uint64(len(d.kinds)); {
	case d.err != nil || number == 0:
		return nil
	case at == known+1:
		d.readKind()
	case at == 0 || at > known:
		d.fail(fmt.Errorf("it is of kind %d, and there are %d", at, known))
	}
	if d.err != nil {
		return nil
	}
	kind := &d.kinds[at-1]
	for i := range kind.steps {
		rank := kind.ranks[i]
		rank.read++
		if !ordered {
			rank.read += int32(d.varint())
		}
		kind.steps[i].Place = rank.read
	}
	longer := uint16(d.uvarint()) - kind.steps[0].Length
	var fingerprint Fingerprint
	octets, err := d.r.Peek(8)
	if err == nil {
		fingerprint = Fingerprint(binary.LittleEndian.Uint64(octets))
		_, err = d.r.Discard(8)
	}
	d.fail(err)
	d.last += d.varint()
	now := d.last
	for i := range kind.steps {
		s := &kind.steps[i]
		if i > 0 {
			now += d.varint()
		}
		s.Time, s.Length, s.Fingerprint = now, s.Length+longer, fingerprint
	}
	return kind.steps
}

// readKind reads what join.appendKind wrote.
func (d *journeyReader) readKind() {
	var kind journeyKind
	for n := d.uvarint(); n > 0 && d.err == nil; n-- {
		s := Step{Tap: int(d.uvarint())}
		shape, err := d.r.Peek(15 + tagLen*SightedTags)
		if len(shape) < 15 {
			d.fail(err)
			return
		}
		var padded [15 + tagLen*SightedTags]byte
		copy(padded[:], shape)
		if _, err := d.r.Discard(s.parseShape(padded[:])); err != nil {
			d.fail(err)
			return
		}
		if s.Direction != In && s.Direction != Out {
			d.fail(errors.New("it has a sighting without a direction"))
		}
		s.Length = uint16(d.varint())
		kind.steps, kind.ranks = append(kind.steps, s), append(kind.ranks, d.ranks.of(s.Tap, &s.Sighting))
	}
	if len(kind.steps) == 0 {
		d.fail(errors.New("it has no steps"))
	}
	d.kinds = append(d.kinds, kind)
}
