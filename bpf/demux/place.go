package demux

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
)

// The protocols of a VLAN tag.
const (
	Protocol8021Q  = "802.1Q"
	Protocol8021AD = "802.1ad"
)

// ProtocolName returns the name of a tag's EtherType: Protocol8021Q, Protocol8021AD, or hexadecimal for others.
func ProtocolName(etherType uint16) string {
	switch etherType {
	case 0x8100:
		return Protocol8021Q
	case 0x88a8:
		return Protocol8021AD
	}
	return fmt.Sprintf("%#04x", etherType)
}

// Place is a VLAN on a trunk.
type Place struct {
	Trunk    string `json:"trunk"`    // interface name
	Protocol string `json:"protocol"` // of the outer tag: Protocol8021Q or Protocol8021AD; empty: Protocol8021Q
	VID      uint16 `json:"vid"`      // 0 to 4094
}

// String gives "eth1:12", and "eth1:ad12" for 802.1ad.
func (p Place) String() string { return p.Trunk + ":" + p.vlan() }

func (p Place) vlan() string {
	if p.Protocol == Protocol8021AD {
		return fmt.Sprintf("ad%d", p.VID)
	}
	return strconv.Itoa(int(p.VID))
}

// Compare orders places by trunk, protocol and VID.
func (p Place) Compare(q Place) int {
	return cmp.Or(cmp.Compare(p.Trunk, q.Trunk), cmp.Compare(p.Protocol, q.Protocol), cmp.Compare(p.VID, q.VID))
}

// check returns the place with its protocol.
func (p Place) check() (Place, error) {
	switch {
	case p.Protocol == "":
		p.Protocol = Protocol8021Q
	case p.Protocol != Protocol8021Q && p.Protocol != Protocol8021AD:
		return p, fmt.Errorf("place on %s: %w: the protocol is %s or %s, not %q", p.Trunk, ErrBadPlace, Protocol8021Q, Protocol8021AD, p.Protocol)
	}
	if p.VID > 4094 {
		return p, fmt.Errorf("place on %s: %w: VID %d is not between 0 and 4094", p.Trunk, ErrBadPlace, p.VID)
	}
	return p, nil
}

// CanonicalPlaces returns the places in order, each once and with its protocol; nil for none.
// Error: [ErrBadPlace].
func CanonicalPlaces(places []Place) ([]Place, error) {
	var list []Place
	for _, p := range places {
		p, err := p.check()
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	slices.SortFunc(list, Place.Compare)
	return slices.Compact(list), nil
}
