// Package topology has the parts of a lab's description that all of the harness shares.
package topology

import (
	"fmt"
	"net/netip"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// NodeInterface is the one interface of a client or worker.
const NodeInterface = "eth0"

// TrunkName is the name of a trunk's interfaces at the switch and at the host.
func TrunkName(trunk int) string { return fmt.Sprintf("trunk%d", trunk) }

// Place is a VLAN on a trunk: where an access port can be.
type Place struct {
	// Trunk is the number of the trunk the VLAN is carried on, from 0. Optional.
	Trunk int `json:"trunk"`
	// VLAN is what the access port pushes and pops.
	VLAN probe.VLAN `json:"vlan"`
}

// String gives "802.1Q 7 on trunk0".
func (p Place) String() string { return p.VLAN.String() + " on " + TrunkName(p.Trunk) }

// Client is a box behind an access port of the switch.
type Client struct {
	// Name is unique in the lab: a lower-case letter, then letters, digits or
	// hyphens, 15 characters at most. The switch's end of the link has it.
	Name string `json:"name"`
	// MAC is individual, not zero, and unique in the lab.
	MAC demux.MAC `json:"mac"`
	// Place of the access port when the lab starts.
	Place
	// Addresses of eth0. Clients may share them. Optional.
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	// Neighbours known from the start. Optional: they are resolved on the wire.
	Neighbours []Neighbour `json:"neighbours,omitempty"`
	// Worker is the name of the worker the client is assigned to when the lab
	// starts. Optional: the client is unknown to the demux.
	Worker string `json:"worker,omitempty"`
	// Offloads leaves segmentation and checksum offloads of the client's link on, so that
	// it sends and takes GSO super-packets whole. Optional: every offload is off, and
	// each packet is one frame.
	Offloads bool `json:"offloads,omitempty"`
}

// Worker is a box behind the host, reached through a veth named after it.
type Worker struct {
	// Name is unique in the lab, and the name of the host end of its veth.
	Name string `json:"name"`
	// MAC is individual, not zero, and unique in the lab.
	MAC demux.MAC `json:"mac"`
	// Addresses of eth0. Workers may share them. Optional.
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	// Neighbours known from the start. Optional.
	Neighbours []Neighbour `json:"neighbours,omitempty"`
	// Offloads leaves segmentation and checksum offloads of the worker's link on, so that
	// it sends and takes GSO super-packets whole. Optional: every offload is off, and
	// each packet is one frame.
	Offloads bool `json:"offloads,omitempty"`
}

// Neighbour is a permanent entry of a node's ARP or NDP table.
type Neighbour struct {
	Address netip.Addr `json:"address"`
	MAC     demux.MAC  `json:"mac"`
}
