package demux

import "fmt"

// Location is where a client was last seen. The zero Location means never.
type Location struct {
	Trunk    int    // interface index of the trunk
	Protocol uint16 // of the outer tag: 0x8100 (802.1Q) or 0x88a8 (802.1ad)
	TCI      uint16 // the whole outer tag as last seen: PCP, DEI and VID
}

// VID returns the VLAN identifier, 0 for a priority tag.
func (l Location) VID() uint16 { return l.TCI & 0x0fff }

// PCP returns the priority code point, 0 to 7.
func (l Location) PCP() uint8 { return uint8(l.TCI >> 13) }

// DEI returns the drop eligible indicator.
func (l Location) DEI() bool { return l.TCI&0x1000 != 0 }

// IsZero reports whether the client was never seen.
func (l Location) IsZero() bool { return l == Location{} }

// String gives "never" or, for example, "trunk 7, 802.1Q VLAN 12".
func (l Location) String() string {
	if l.IsZero() {
		return "never"
	}
	return fmt.Sprintf("trunk %d, %s VLAN %d", l.Trunk, ProtocolName(l.Protocol), l.VID())
}

// locationUnused is LOCATION_UNUSED in types.h.
const locationUnused = uint64(1) << 63

// inFormerMaps is in_former_maps in types.h.
func inFormerMaps(word uint64) bool { return word != 0 && word>>32 == 0 }

// locationPlaceMask is LOCATION_PLACE_MASK: it takes the mark, PCP and DEI out of a location.
const locationPlaceMask = ^uint64(0xf000) &^ locationUnused

// unpackLocation reads the word that pack_location in types.h makes.
func unpackLocation(word uint64) Location {
	word &^= locationUnused
	return Location{Trunk: int(word >> 32), Protocol: uint16(word >> 16), TCI: uint16(word)}
}
