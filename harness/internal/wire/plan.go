package wire

import (
	"net/netip"
	"slices"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// TrunkHeadroom is how many octets the MTU of a trunk exceeds Plan.MTU by: two
// VLAN tags.
const TrunkHeadroom = 8

// DefaultMTU is the MTU of a Plan that does not say.
const DefaultMTU = 1500

// Names of the two nodes that are not containers.
const (
	HostNode   = "host"
	SwitchNode = "switch"
)

// nodeInterface is the one interface of a client or worker, its end of the link.
const nodeInterface = "eth0"

// HostStack is the tap of what goes on to the host's own stack.
const HostStack = HostNode + "/stack"

// Plan is everything Apply makes. It travels as JSON.
type Plan struct {
	Switch  string   `json:"switch"`         // one of SwitchKinds
	MTU     int      `json:"mtu,omitempty"`  // of clients' and workers' interfaces, octets behind the Ethernet header; DefaultMTU if 0
	IPv6    bool     `json:"ipv6,omitempty"` // clients and workers speak IPv6; the host and the switch never do
	Trunks  []Trunk  `json:"trunks"`
	Ports   []Port   `json:"ports"`
	Workers []Worker `json:"workers"`
}

// largestPacket is the octets of the largest packet that can cross the lab: of a
// super-packet where anybody sends those.
func (p *Plan) largestPacket() int {
	const ethernetHeader, superPacket = 14, 64 << 10
	offloads := slices.ContainsFunc(p.Ports, func(p Port) bool { return p.Offloads }) ||
		slices.ContainsFunc(p.Workers, func(w Worker) bool { return w.Offloads })
	if offloads {
		return superPacket
	}
	return p.MTU + TrunkHeadroom + ethernetHeader
}

// Trunk is a link between the switch and the host. Both ends have its name.
type Trunk struct {
	Name string `json:"name"`
}

// VLAN is what an access port belongs to.
type VLAN = probe.VLAN

// Port is an access port of the switch with the client behind it. The switch's
// end of the link is named after the client.
type Port struct {
	Client     string         `json:"client"`
	PID        int            `json:"pid"` // a process in the client's network namespace, in the caller's PID namespace
	MAC        demux.MAC      `json:"mac"`
	Addresses  []netip.Prefix `json:"addresses,omitempty"`
	Trunk      int            `json:"trunk"` // index into Plan.Trunks
	VLAN       VLAN           `json:"vlan"`
	Neighbours []Neighbour    `json:"neighbours,omitempty"`
	Offloads   bool           `json:"offloads,omitempty"` // both ends: checksums, TSO, GSO and GRO pinned on; else pinned off
}

// Worker is a worker with its link to the host. The host's end is named after
// the worker.
type Worker struct {
	Name       string         `json:"name"`
	PID        int            `json:"pid"`
	MAC        demux.MAC      `json:"mac"`
	Addresses  []netip.Prefix `json:"addresses,omitempty"`
	Neighbours []Neighbour    `json:"neighbours,omitempty"`
	Offloads   bool           `json:"offloads,omitempty"`
}

// Neighbour is a permanent entry in a node's ARP or NDP table.
type Neighbour struct {
	Address netip.Addr `json:"address"`
	MAC     demux.MAC  `json:"mac"`
}
