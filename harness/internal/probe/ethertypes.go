package probe

import "encoding/binary"

// What Linux takes a frame for that has a length where others have an EtherType.
const (
	linux8023 uint16 = 0x0001 // ETH_P_802_3, Novell's
	linux8022 uint16 = 0x0004 // ETH_P_802_2, LLC
)

const etherTypeARP uint16 = 0x0806

// CommonEtherTypes are those of frames that stacks send by themselves, and of tags.
func CommonEtherTypes() []uint16 {
	return []uint16{etherTypeARP, etherTypeIPv4, etherTypeIPv6, Dot1Q, Dot1AD}
}

// EtherTypes are those under which a stack can be handed frames of the batch, for
// [Tap.Watch]: with none, one or more of their tags removed.
func (b *Batch) EtherTypes() []uint16 {
	var types []uint16
	if len(b.Raw) == 0 {
		frame, _ := b.Packet(0, nil)
		return appendEtherTypes(types, frame)
	}
	for _, frame := range b.Raw {
		types = appendEtherTypes(types, frame)
	}
	return types
}

func appendEtherTypes(types []uint16, frame []byte) []uint16 {
	last := 12 + tagLen*tagStack(frame)
	for at := 12; at <= last; at += tagLen {
		t := binary.BigEndian.Uint16(frame[at:])
		if t < 0x0600 {
			if t = linux8022; len(frame) >= at+4 && binary.BigEndian.Uint16(frame[at+2:]) == 0xffff {
				t = linux8023
			}
		}
		types = append(types, t)
	}
	return types
}
