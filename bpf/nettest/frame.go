package nettest

import (
	"cmp"
	"encoding/binary"
)

// Tag is a VLAN tag.
type Tag struct{ Protocol, TCI uint16 }

// Frame is what a test sends or expects.
type Frame struct {
	Destination, Source [6]byte
	Tags                []Tag  // outermost first
	EtherType           uint16 // 0: 0x88b5, for experiments
	Payload             []byte
}

// Bytes returns the frame without FCS. It is not padded.
func (f Frame) Bytes() []byte {
	b := append(f.Destination[:len(f.Destination):len(f.Destination)], f.Source[:]...)
	for _, tag := range f.Tags {
		b = binary.BigEndian.AppendUint16(b, tag.Protocol)
		b = binary.BigEndian.AppendUint16(b, tag.TCI)
	}
	b = binary.BigEndian.AppendUint16(b, cmp.Or(f.EtherType, 0x88b5))
	return append(b, f.Payload...)
}

// WithTags returns the frame with other tags.
func (f Frame) WithTags(tags ...Tag) Frame {
	f.Tags = tags
	return f
}
