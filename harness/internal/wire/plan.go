package wire

import (
	"slices"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
	"github.com/vlandemux/vlandemux/harness/internal/topology"
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

// HostStack is the tap of what goes on to the host's own stack.
const HostStack = HostNode + "/stack"

// Plan is everything Apply makes. It travels as JSON.
type Plan struct {
	Switch string `json:"switch"`        // one of SwitchKinds
	MTU    int    `json:"mtu,omitempty"` // of clients' and workers' interfaces, octets behind the Ethernet header; DefaultMTU if 0
	// SuperPacket is the most octets of a TCP super-packet, where links have offloads; 0 for the kernel's default.
	SuperPacket int               `json:"super_packet,omitempty"`
	IPv6        bool              `json:"ipv6,omitempty"` // clients and workers have IPv6; the host and the switch never do
	Trunks      int               `json:"trunks"`         // how many; their names are topology.TrunkName's
	Clients     []topology.Client `json:"clients"`
	Workers     []topology.Worker `json:"workers"`
	Tunnels     []topology.Tunnel `json:"tunnels,omitempty"`
	// RedirectPeer says that frames for workers may not cross the host's ends of their links: taps look for marks at nodes, too.
	RedirectPeer bool `json:"redirect_peer,omitempty"`
	// PIDs of a process in the network namespace of each client and worker, by name,
	// in the caller's PID namespace.
	PIDs map[string]int `json:"pids"`
	// Space is where the switch is. Optional: a network namespace of its own.
	Space *SwitchSpace `json:"-"`
}

// MaxSuperPacket is the most that SuperPacket can be: with headers it fits into a block of a tap's ring.
const MaxSuperPacket = 200_000

// largestPacket is the octets of the largest packet that can cross the lab: of a
// super-packet where anybody sends those.
func (p *Plan) largestPacket() int {
	const ethernetHeader, superPacket = 14, 64 << 10
	if p.offloads() {
		return max(superPacket, p.SuperPacket)
	}
	largest := p.MTU + TrunkHeadroom
	for _, w := range p.Workers {
		largest = max(largest, w.MTU)
	}
	return largest + ethernetHeader
}

func (p *Plan) offloads() bool {
	return slices.ContainsFunc(p.Clients, func(c topology.Client) bool { return c.Offloads }) ||
		slices.ContainsFunc(p.Workers, func(w topology.Worker) bool { return w.Offloads })
}

// VLAN is what an access port tags its frames with.
type VLAN = probe.VLAN

// Place is where an access port can be.
type Place = topology.Place

// macs hands out addresses for the interfaces that a plan gives none: the
// switch's and the host's. The same plan gets the same ones.
type macs struct {
	used map[demux.MAC]bool
	last uint32
}

func newMACs(plan *Plan) *macs {
	m := &macs{used: map[demux.MAC]bool{}}
	for _, c := range plan.Clients {
		m.used[c.MAC] = true
	}
	for _, w := range plan.Workers {
		m.used[w.MAC] = true
	}
	return m
}

// next is a locally administered individual address that nothing in the plan
// has: a bridge keeps frames for its ports' own addresses to itself.
func (m *macs) next() demux.MAC {
	for {
		m.last++
		mac := demux.MAC{0x0a, 0x76, 0x6c, byte(m.last >> 16), byte(m.last >> 8), byte(m.last)}
		if !m.used[mac] {
			return mac
		}
	}
}
