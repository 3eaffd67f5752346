package probe

import (
	"fmt"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

// VLAN is what an access port is configured with.
type VLAN struct {
	// Protocol of its tag, [Dot1Q] or [Dot1AD].
	Protocol uint16 `json:"protocol"`
	VID      uint16 `json:"vid"` // 1 to 4094
}

// String gives "802.1Q 7" or "802.1ad 7".
func (v VLAN) String() string {
	return fmt.Sprintf("%s %d", demux.ProtocolName(v.Protocol), v.VID)
}

// Tag is that of its frames with a PCP, 0 to 7.
func (v VLAN) Tag(pcp uint16) Tag { return Tag{Protocol: v.Protocol, TCI: pcp<<13 | v.VID} }

// Validate tells what is wrong with the VLAN.
func (v VLAN) Validate() error {
	if v.VID < 1 || v.VID > 4094 {
		return fmt.Errorf("VLAN %d is not within 1 to 4094", v.VID)
	}
	if v.Protocol != Dot1Q && v.Protocol != Dot1AD {
		return fmt.Errorf("VLAN protocol %#04x is neither 802.1Q (0x8100) nor 802.1ad (0x88a8)", v.Protocol)
	}
	return nil
}
