package ledger

import (
	"fmt"
	"strings"

	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// stack is a frame's VLAN tags, outermost first: how many, and the first of them.
type stack struct {
	count uint8
	tags  [probe.SightedTags]probe.Tag
}

// unseen is the protocol of a tag that no tap recorded, because it was too deep.
const unseen uint16 = 0xffff

func (s stack) push(t probe.Tag) stack {
	copy(s.tags[1:], s.tags[:len(s.tags)-1])
	s.tags[0] = t
	s.count++
	return s
}

func (s stack) pop() stack {
	copy(s.tags[:], s.tags[1:])
	last := len(s.tags) - 1
	s.tags[last] = probe.Tag{}
	if int(s.count) > len(s.tags) {
		s.tags[last].Protocol = unseen
	}
	s.count--
	return s
}

// shows tells whether a sighting of got is what want must look like.
func (s stack) shows(got stack) bool {
	if s == got {
		return true
	}
	if s.count != got.count {
		return false
	}
	for i, t := range s.tags {
		if t.Protocol != unseen && t != got.tags[i] {
			return false
		}
	}
	return true
}

// vlan tells whether the outer tag is one that switch and demux know.
func (s stack) vlan() bool {
	return s.count > 0 && (s.tags[0].Protocol == probe.Dot1Q || s.tags[0].Protocol == probe.Dot1AD)
}

func (s stack) String() string {
	if s.count == 0 {
		return "no tag"
	}
	var names []string
	for i, t := range s.tags[:min(int(s.count), len(s.tags))] {
		if t.Protocol == unseen {
			names = append(names, fmt.Sprintf("tag %d unknown", i+1))
			continue
		}
		names = append(names, t.String())
	}
	if more := int(s.count) - len(s.tags); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, " + ")
}

const tagOctets = 4
