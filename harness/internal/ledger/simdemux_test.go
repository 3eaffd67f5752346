package ledger_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// locate is what the demux notes of where a client is, and the event it raises.
func (s *sim) locate(mac probe.MAC, now location) {
	from, known := s.located[mac]
	s.located[mac] = now
	e := control.Event{Type: "learned", MAC: mac, To: now.listed(), Time: time.Unix(0, s.now)}
	if known {
		e.Type, e.From = "moved", from.listed()
	}
	if !known || from.trunk != now.trunk || from.tag[1] != now.tag[1] || from.tag[2]&15 != now.tag[2]&15 || from.tag[3] != now.tag[3] || from.tag[0] != now.tag[0] {
		s.events = append(s.events, e)
	}
}

// listed is a location as the demux lists it, nil for none.
func (l location) listed() *control.Location {
	if l.tag == nil {
		return nil
	}
	names := map[uint16]string{0x8100: "802.1Q", 0x88a8: "802.1ad"}
	tci := binary.BigEndian.Uint16(l.tag[2:])
	return &control.Location{
		Trunk: l.trunk, Protocol: names[binary.BigEndian.Uint16(l.tag)], VID: tci & 0xfff, PCP: uint8(tci >> 13), DEI: tci&0x1000 != 0,
	}
}

func (s *sim) fromTrunk(trunk string, data []byte) {
	src := probe.MAC(data[6:12])
	switch {
	case !isTag(data[12:]) && s.lab.PassUntagged:
		s.count("passed untagged", len(data))
		s.record("host/stack", probe.In, data, s.now)
	case !isTag(data[12:]):
		s.count("dropped untagged", len(data))
	case src[0]&1 == 1, src == probe.MAC{}:
		s.count("dropped invalid_source", len(data))
	case binary.BigEndian.Uint16(data[14:])&0xfff == 0xfff:
		s.count("dropped invalid_vlan", len(data))
	case s.worker[src] == "":
		s.count("dropped unknown_client", len(data))
	default:
		s.locate(src, location{trunk, slices.Clone(data[12:16])})
		s.count("rx "+src.String(), len(data))
		s.leave("host/"+s.worker[src], popTag(data))
	}
}

func (s *sim) fromWorker(worker string, data []byte) {
	dst := probe.MAC(data[:6])
	if dst[0]&1 == 0 {
		at, ok := s.located[dst]
		switch {
		case s.worker[dst] != worker:
			s.count("dropped not_assigned", len(data))
		case !ok:
			s.count("dropped unlearned", len(data))
		case s.down[at.trunk]:
			s.count("dropped no_trunk", len(data))
		default:
			s.count("tx "+dst.String(), len(data)+4)
			s.leave("host/"+at.trunk, pushTag(data, at.tag))
		}
		return
	}
	members, copied := 0, map[string]bool{}
	var macs []probe.MAC
	for mac := range s.worker {
		macs = append(macs, mac)
	}
	slices.SortFunc(macs, func(a, b probe.MAC) int { return slices.Compare(a[:], b[:]) })
	for _, mac := range macs {
		if s.worker[mac] != worker {
			continue
		}
		members++
		at, ok := s.located[mac]
		if !ok {
			continue
		}
		place := fmt.Sprintf("%s %x %d", at.trunk, at.tag[:2], binary.BigEndian.Uint16(at.tag[2:])&0xfff)
		if copied[place] {
			continue
		}
		copied[place] = true
		if s.down[at.trunk] {
			s.count("dropped no_trunk", len(data)+4)
			continue
		}
		s.count("flooded "+worker, len(data)+4)
		s.leave("host/"+at.trunk, pushTag(data, []byte{at.tag[0], at.tag[1], at.tag[2] & 15, at.tag[3]}))
	}
	switch {
	case members == 0:
		s.count("dropped not_assigned", len(data))
	case len(copied) == 0:
		s.count("dropped unlearned", len(data))
	}
}
