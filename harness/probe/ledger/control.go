package ledger

import (
	"fmt"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
	"github.com/vlandemux/vlandemux/harness/probe"
)

// FromControl turns what the demux lists before the taps begin into Lab.Assignments
// and Lab.Learned. Interfaces have the same names there and here.
func FromControl(listed []control.Assignment) ([]Assignment, []Location, error) {
	var assignments []Assignment
	var learned []Location
	for _, x := range listed {
		var mac probe.MAC
		if err := mac.UnmarshalText([]byte(x.MAC)); err != nil {
			return nil, nil, fmt.Errorf("reading the demux's assignment of %q to %s: %w", x.MAC, x.Worker, err)
		}
		assignments = append(assignments, Assignment{MAC: mac, Worker: x.Worker})
		if x.Location == nil {
			continue
		}
		at := Location{MAC: mac, Trunk: x.Location.Trunk, Tag: probe.Tag{TCI: x.Location.VID | uint16(x.Location.PCP)<<13}}
		if x.Location.DEI {
			at.Tag.TCI |= 1 << 12
		}
		switch x.Location.Protocol {
		case "802.1Q":
			at.Tag.Protocol = probe.Dot1Q
		case "802.1ad":
			at.Tag.Protocol = probe.Dot1AD
		default:
			return nil, nil, fmt.Errorf("reading the demux's location of %s: VLAN protocol %q is neither 802.1Q nor 802.1ad", x.MAC, x.Location.Protocol)
		}
		learned = append(learned, at)
	}
	return assignments, learned, nil
}
