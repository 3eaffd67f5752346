package ledger

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

const ethernetHeader = 14

// stackIn are a frame's tags, each with an EtherType behind it.
func stackIn(data []byte) stack {
	var tags [probe.SightedTags]probe.Tag
	n := 0
	for at := ethernetHeader - 2; at+tagOctets+2 <= len(data) && n < len(tags); at += tagOctets {
		p := binary.BigEndian.Uint16(data[at:])
		if p != probe.Dot1Q && p != probe.Dot1AD {
			break
		}
		tags[n] = probe.Tag{Protocol: p, TCI: binary.BigEndian.Uint16(data[at+2:])}
		n++
	}
	return stackOf(tags[:n])
}

func etherTypeOf(data []byte) uint16 {
	at := ethernetHeader - 2 + tagOctets*int(stackIn(data).count)
	return binary.BigEndian.Uint16(data[at:])
}

// endsAtTag tells whether a frame that was sent at a link ends within its tag or the
// two octets behind it. The kernel at the far end takes the tag off before any tap, and
// drops what is that short (skb_vlan_untag in net/core/skbuff.c, from 5.9 on). A tag
// that a part has pushed is not in the frame's octets.
func (a *audit) endsAtTag(f *frame, r *record) bool {
	tag := r.tags.vlan() || f.etherType == probe.Dot1Q || f.etherType == probe.Dot1AD
	if !tag || r.length >= ethernetHeader+tagOctets+2 {
		return false
	}
	sent := a.plan.of(r.side).role.part() == endpoint
	for i := f.origin; i >= 0 && !sent; i = a.table.origins[i].next {
		sent = a.table.origins[i].side == r.side
	}
	return sent
}

// describe names a frame: its batch if it has one, and who sent what to whom.
func (a *audit) describe(f *frame) string {
	what := fmt.Sprintf("%s → %s, EtherType %#04x", f.source, f.dest, f.etherType)
	if f.origin < 0 {
		return fmt.Sprintf("frame %s of no batch (%s)", f.fingerprint, what)
	}
	o := &a.table.origins[f.origin]
	copies := 0
	for i := f.origin; i >= 0; i = a.table.origins[i].next {
		copies++
	}
	s := &a.in.Sent[o.batch]
	name := fmt.Sprintf("batch %q frame %d, sent at %s (%s, %s, %d octets)", s.Batch.Name, o.number, s.Tap, what, o.tags, o.length)
	if copies > 1 {
		name += fmt.Sprintf(", one of %d identical ones", copies)
	}
	return name
}

// Clock is a time of day, of nanoseconds since 1970, as reports show it.
func Clock(ns int64) string { return time.Unix(0, ns).UTC().Format("15:04:05.000000") }

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
