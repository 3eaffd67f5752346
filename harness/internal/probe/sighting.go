package probe

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"strings"
)

// Direction is the way a frame crossed a tapped interface.
type Direction uint8

// The directions, as seen by the interface's own network namespace.
const (
	In  Direction = 1 // received by the interface
	Out Direction = 2 // sent out of the interface
)

// String is "in" or "out".
func (d Direction) String() string {
	switch d {
	case In:
		return "in"
	case Out:
		return "out"
	}
	return fmt.Sprintf("direction %d", uint8(d))
}

// SightedTags is how many tags a [Sighting] holds: those of a batch and one that a
// switch pushes. A tap does not know what to do with a frame that has more.
const SightedTags = MaxTags + 1

// Sighting is one wire frame at one tap.
type Sighting struct {
	Fingerprint Fingerprint
	// Time is when the kernel saw the frame, in nanoseconds since 1970.
	Time int64
	// Length in octets on the wire, tags included, FCS excluded.
	Length uint16
	// EtherType behind the tags; below 0x0600 an 802.3 length.
	EtherType uint16
	// Tags are the first TagCount, outermost first.
	Tags        [SightedTags]Tag
	TagCount    uint8
	Direction   Direction
	Destination MAC
	Source      MAC
}

// Stack is the sighting's tags, outermost first.
func (s *Sighting) Stack() []Tag { return s.Tags[:s.TagCount] }

// sightingMagic begins a stream of sightings, each of which is
//
//	shape        uvarint: what it has in common with others. From 1, in the order they come; the first of a shape has appendShape's octets behind it
//	length       uvarint
//	time         varint, since the one before
//	fingerprint  8 octets, little endian
//
// The end is a shape 0 and a uvarint, the number of sightings, so that no cut goes unnoticed.
const sightingMagic = "vdsight4"

// mostOctets is how long an encoded sighting can be.
const mostOctets = 3*binary.MaxVarintLen64 + 15 + tagLen*SightedTags + 8

// chunkSize is the octets of encoded sightings allocated at a time.
const chunkSize = 64 << 10

// sightingLog is sightings in the order they were added, encoded.
type sightingLog struct {
	chunks [][]byte // each holds whole sightings
	count  uint64
	last   int64             // the time of the last
	shapes map[string]uint64 // their numbers
	shape  []byte            // that of the sighting to add
}

func (l *sightingLog) add(s *Sighting) {
	if n := len(l.chunks); n == 0 || cap(l.chunks[n-1])-len(l.chunks[n-1]) < mostOctets {
		l.chunks = append(l.chunks, make([]byte, 0, chunkSize))
	}
	l.shape = s.appendShape(l.shape[:0])
	number, known := l.shapes[string(l.shape)]
	if !known {
		if l.shapes == nil {
			l.shapes = map[string]uint64{}
		}
		number = uint64(len(l.shapes) + 1)
		l.shapes[string(l.shape)] = number
	}
	b := binary.AppendUvarint(l.chunks[len(l.chunks)-1], number)
	if !known {
		b = append(b, l.shape...)
	}
	b = binary.AppendUvarint(b, uint64(s.Length))
	b = binary.AppendVarint(b, s.Time-l.last)
	l.chunks[len(l.chunks)-1] = binary.LittleEndian.AppendUint64(b, uint64(s.Fingerprint))
	l.last = s.Time
	l.count++
}

// appendShape appends what frames of a flow have in common, big endian.
func (s *Sighting) appendShape(b []byte) []byte {
	b = append(b, uint8(s.Direction)<<4|s.TagCount)
	b = append(append(b, s.Destination[:]...), s.Source[:]...)
	b = binary.BigEndian.AppendUint16(b, s.EtherType)
	for _, tag := range s.Stack() {
		b = binary.BigEndian.AppendUint16(b, tag.Protocol)
		b = binary.BigEndian.AppendUint16(b, tag.TCI)
	}
	return b
}

// parseShape decodes a shape that b begins with, and says where it ends.
func (s *Sighting) parseShape(b []byte) (octets int) {
	s.Direction, s.TagCount = Direction(b[0]>>4), min(b[0]&0xf, SightedTags)
	copy(s.Destination[:], b[1:])
	copy(s.Source[:], b[7:])
	s.EtherType = binary.BigEndian.Uint16(b[13:])
	octets = 15
	for i := range s.Stack() {
		s.Tags[i] = Tag{Protocol: binary.BigEndian.Uint16(b[octets:]), TCI: binary.BigEndian.Uint16(b[octets+2:])}
		octets += tagLen
	}
	return octets
}

// write writes what [ReadSightings] reads.
func (l *sightingLog) write(w io.Writer) error {
	pieces := append(net.Buffers{[]byte(sightingMagic)}, l.chunks...)
	pieces = append(pieces, binary.AppendUvarint([]byte{0}, l.count))
	if _, err := pieces.WriteTo(w); err != nil {
		return fmt.Errorf("writing %d sightings: %w", l.count, err)
	}
	return nil
}

// all decodes them.
func (l *sightingLog) all() iter.Seq2[Sighting, error] {
	readers := []io.Reader{strings.NewReader(sightingMagic)}
	for _, chunk := range l.chunks {
		readers = append(readers, bytes.NewReader(chunk))
	}
	return ReadSightings(io.MultiReader(append(readers, bytes.NewReader(binary.AppendUvarint([]byte{0}, l.count)))...))
}

// ReadSightings decodes what [Tap.WriteSightings] wrote,
// as it arrives, and ends after the first error, if any. A stream that ends
// early is an error.
func ReadSightings(r io.Reader) iter.Seq2[Sighting, error] {
	return func(yield func(Sighting, error) bool) {
		br := bufio.NewReaderSize(r, 64<<10)
		var start [len(sightingMagic)]byte
		if _, err := io.ReadFull(br, start[:]); err != nil {
			yield(Sighting{}, fmt.Errorf("reading sightings: %w", noEOF(err)))
			return
		}
		if string(start[:]) != sightingMagic {
			yield(Sighting{}, fmt.Errorf("reading sightings: they begin with %q, want %q", start, sightingMagic))
			return
		}
		var d sightingDecoder
		for n := int64(0); ; n++ {
			b, cut := br.Peek(mostOctets)
			s, octets, err := d.next(b)
			switch {
			case octets > len(b):
				yield(Sighting{}, fmt.Errorf("reading sighting %d: %w", n, noEOF(cut)))
				return
			case err != nil:
				yield(Sighting{}, fmt.Errorf("reading sighting %d: %w", n, err))
				return
			case s.Direction == 0:
				if s.Time != n {
					yield(Sighting{}, fmt.Errorf("reading sightings: %d arrived of %d", n, s.Time))
				}
				return
			}
			if _, err := br.Discard(octets); err != nil || !yield(s, nil) { // it has what Peek gave
				return
			}
		}
	}
}

// sightingDecoder is what has to be known of the sightings before the next.
type sightingDecoder struct {
	shapes []Sighting
	last   int64
}

// next decodes the sighting that b begins with and says how long it is, which is longer than b if b is cut. The end has no direction, and its time
// is the number of sightings.
func (d *sightingDecoder) next(b []byte) (s Sighting, octets int, err error) {
	var padded [mostOctets]byte
	copy(padded[:], b)
	bad := false
	take := func(value uint64, n int) uint64 {
		bad = bad || n <= 0
		octets += max(n, 0)
		return value
	}
	number := take(binary.Uvarint(padded[:]))
	switch have := uint64(len(d.shapes)); {
	case number == 0:
		s.Time = int64(take(binary.Uvarint(padded[octets:])))
		return s, octets, nil
	case number <= have:
		s = d.shapes[number-1]
	case number == have+1:
		octets += s.parseShape(padded[octets:])
		bad = s.Direction == 0
		d.shapes = append(d.shapes, s)
	default:
		return s, octets, fmt.Errorf("its shape is the number %d, and there are %d", number, have)
	}
	s.Length = uint16(take(binary.Uvarint(padded[octets:])))
	since, n := binary.Varint(padded[octets:])
	d.last += int64(take(uint64(since), n))
	s.Time = d.last
	s.Fingerprint = Fingerprint(binary.LittleEndian.Uint64(padded[octets:]))
	octets += 8
	if bad {
		err = errors.New("it is no sighting")
	}
	return s, octets, err
}

// noEOF makes an end of the stream where more should follow an error of its own.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
