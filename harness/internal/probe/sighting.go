package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
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

// mostOctets is how long an encoded sighting can be.
const mostOctets = 3*binary.MaxVarintLen64 + 15 + tagLen*SightedTags + 8

// chunkSize is the octets of encoded sightings allocated at a time.
const chunkSize = 64 << 10

// sightingLog is sightings in the order they were added, each of them encoded as
//
//	shape        uvarint: what it has in common with others. From 1, in the order they come; the first of a shape has appendShape's octets behind it
//	length       uvarint
//	time         varint, since the one before
//	fingerprint  8 octets, little endian
type sightingLog struct {
	chunks [][]byte          // each holds whole sightings
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

// all are the sightings with the numbers of their shapes, from 0.
func (l *sightingLog) all() iter.Seq2[int, Sighting] {
	return func(yield func(int, Sighting) bool) {
		var shapes []Sighting
		var last int64
		for _, b := range l.chunks {
			for len(b) > 0 {
				number, n := binary.Uvarint(b)
				b = b[n:]
				if number > uint64(len(shapes)) {
					var shape Sighting
					b = b[shape.parseShape(b):]
					shapes = append(shapes, shape)
				}
				s := shapes[number-1]
				length, n := binary.Uvarint(b)
				since, m := binary.Varint(b[n:])
				b = b[n+m:]
				last += since
				s.Length, s.Time, s.Fingerprint = uint16(length), last, Fingerprint(binary.LittleEndian.Uint64(b))
				b = b[8:]
				if !yield(int(number-1), s) {
					return
				}
			}
		}
	}
}

// noEOF makes an end of the stream where more should follow an error of its own.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
