package probe

import (
	"bufio"
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

// SightingSize is the octets of an encoded sighting.
const SightingSize = 56

// sightingMagic begins a stream of sightings. Its end is a record of direction 0
// whose time is the number of sightings, so that no cut goes unnoticed.
const sightingMagic = "vdsight3"

// put encodes the sighting into b[:SightingSize], little endian.
func (s *Sighting) put(b []byte) {
	_ = b[SightingSize-1]
	binary.LittleEndian.PutUint64(b, uint64(s.Fingerprint))
	binary.LittleEndian.PutUint64(b[8:], uint64(s.Time))
	binary.LittleEndian.PutUint16(b[16:], s.Length)
	binary.LittleEndian.PutUint16(b[18:], s.EtherType)
	var service uint16 // bit i: tag i is of 802.1ad
	for i, tag := range s.Tags {
		if tag.Protocol == Dot1AD {
			service |= 1 << i
		}
		binary.LittleEndian.PutUint16(b[22+2*i:], tag.TCI)
	}
	binary.LittleEndian.PutUint16(b[20:], service)
	b[40], b[41] = s.TagCount, uint8(s.Direction)
	copy(b[42:], s.Destination[:])
	copy(b[48:], s.Source[:])
	b[54], b[55] = 0, 0
}

// parse decodes the sighting from b[:SightingSize].
func (s *Sighting) parse(b []byte) {
	_ = b[SightingSize-1]
	s.Fingerprint = Fingerprint(binary.LittleEndian.Uint64(b))
	s.Time = int64(binary.LittleEndian.Uint64(b[8:]))
	s.Length = binary.LittleEndian.Uint16(b[16:])
	s.EtherType = binary.LittleEndian.Uint16(b[18:])
	s.TagCount, s.Direction = min(b[40], SightedTags), Direction(b[41])
	s.Tags = [SightedTags]Tag{}
	service := binary.LittleEndian.Uint16(b[20:])
	for i := range s.Stack() {
		s.Tags[i] = Tag{Protocol: Dot1Q, TCI: binary.LittleEndian.Uint16(b[22+2*i:])}
		if service&(1<<i) != 0 {
			s.Tags[i].Protocol = Dot1AD
		}
	}
	copy(s.Destination[:], b[42:])
	copy(s.Source[:], b[48:])
}

// writeSightings writes pieces of one or more encoded sightings between a header
// and an end mark.
func writeSightings(w io.Writer, pieces [][]byte) error {
	bw := bufio.NewWriterSize(w, 64<<10)
	if _, err := bw.WriteString(sightingMagic); err != nil {
		return fmt.Errorf("writing sightings: %w", err)
	}
	var end Sighting
	for _, piece := range pieces {
		end.Time += int64(len(piece) / SightingSize)
		if _, err := bw.Write(piece); err != nil {
			return fmt.Errorf("writing sightings: %w", err)
		}
	}
	var record [SightingSize]byte
	end.put(record[:])
	_, err := bw.Write(record[:])
	if err = errors.Join(err, bw.Flush()); err != nil {
		return fmt.Errorf("writing the end of %d sightings: %w", end.Time, err)
	}
	return nil
}

// ReadSightings decodes what [Tap.WriteSightings] wrote,
// as it arrives, and ends after the first error, if any. A stream that ends
// early is an error.
func ReadSightings(r io.Reader) iter.Seq2[Sighting, error] {
	return func(yield func(Sighting, error) bool) {
		br := bufio.NewReaderSize(r, 64<<10)
		var record [SightingSize]byte
		start := record[:len(sightingMagic)]
		if _, err := io.ReadFull(br, start); err != nil {
			yield(Sighting{}, fmt.Errorf("reading sightings: %w", noEOF(err)))
			return
		}
		if string(start) != sightingMagic {
			yield(Sighting{}, fmt.Errorf("reading sightings: they begin with %q, want %q", start, sightingMagic))
			return
		}
		var s Sighting
		for n := int64(0); ; n++ {
			if _, err := io.ReadFull(br, record[:]); err != nil {
				yield(Sighting{}, fmt.Errorf("reading sighting %d: %w", n, noEOF(err)))
				return
			}
			s.parse(record[:])
			if s.Direction == 0 {
				if s.Time != n {
					yield(Sighting{}, fmt.Errorf("reading sightings: %d arrived of %d", n, s.Time))
				}
				return
			}
			if !yield(s, nil) {
				return
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
