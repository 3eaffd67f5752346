package ledger

import (
	"strings"

	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// stack is a frame's VLAN tags, outermost first, in few octets: there are millions.
type stack struct {
	count   uint8
	service uint16 // bit i: tag i is of 802.1ad, not 802.1Q
	tci     [probe.SightedTags]uint16
}

func stackOf(tags []probe.Tag) stack {
	s := stack{count: uint8(len(tags))}
	for i, t := range tags {
		s.tci[i] = t.TCI
		if t.Protocol == probe.Dot1AD {
			s.service |= 1 << i
		}
	}
	return s
}

func (s stack) tag(i int) probe.Tag {
	t := probe.Tag{Protocol: probe.Dot1Q, TCI: s.tci[i]}
	if s.service&(1<<i) != 0 {
		t.Protocol = probe.Dot1AD
	}
	return t
}

// outer is the outermost of at least one tag.
func (s stack) outer() probe.Tag { return s.tag(0) }

func (s stack) push(t probe.Tag) stack {
	copy(s.tci[1:], s.tci[:len(s.tci)-1])
	s.tci[0] = t.TCI
	s.service <<= 1
	if t.Protocol == probe.Dot1AD {
		s.service |= 1
	}
	s.count++
	return s
}

func (s stack) pop() stack {
	copy(s.tci[:], s.tci[1:])
	s.tci[len(s.tci)-1] = 0
	s.service >>= 1
	s.count--
	return s
}

// vlan tells whether there is a tag.
func (s stack) vlan() bool { return s.count > 0 }

func (s stack) String() string {
	if s.count == 0 {
		return "no tag"
	}
	var names []string
	for i := range int(s.count) {
		names = append(names, s.tag(i).String())
	}
	return strings.Join(names, " + ")
}

const tagOctets = 4
