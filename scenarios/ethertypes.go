package scenarios

import (
	"context"
	"fmt"

	"github.com/vlandemux/vlandemux/harness"
)

// EtherTypes sends frames of every kind that Ethernet carries, and of kinds drawn
// from the seed, to a station and to the groups that bridges treat in a way of their own.
func EtherTypes() Scenario {
	return Scenario{
		Name:    "EtherTypes",
		Summary: "Frames of any EtherType or 802.3 length, to a station and to link-local groups, cross the demux both ways.",
		Labels:  []string{"ethertypes"},
		Cases: []Case{{
			Text:     "carries frames of every EtherType to a station and to link-local groups",
			Topology: rackOf(2),
			Run:      etherTypes,
		}},
	}
}

func etherTypes(ctx context.Context, r *Run) {
	const drawn, lengths = 40, 4
	// Lengths of 802.3 frames; then IPv4, ARP, wake-on-LAN, TRILL, RARP, IPv6, flow control, LACP, MPLS,
	// PPPoE, jumbo, EAPOL, PROFINET, AoE, EtherCAT, LLDP, HomePlug, MACsec, PBB, PTP, CFM, FCoE, RoCE, TTE, loopback.
	types := []uint16{0, 1, 46, 1500, 0x05ff, 0x0600, 0x0800, 0x0806, 0x0842, 0x22f3, 0x8035, 0x86dd, 0x8808, 0x8809, 0x8847, 0x8848,
		0x8863, 0x8864, 0x8870, 0x888e, 0x8892, 0x88a2, 0x88a4, 0x88cc, 0x88e1, 0x88e5, 0x88e7, 0x88f7, 0x8902, 0x8906, 0x8915, 0x891d, 0x9000, 0xffff}
	rng := r.Seed.Rand("EtherTypes")
	for range drawn {
		if t := uint16(rng.Uint32()); t != harness.Dot1Q && t != harness.Dot1AD {
			types = append(types, t)
		}
	}
	groups := []harness.MAC{broadcast(), multicast(), {0x33, 0x33, 5: 1}, {0x01, 0x1b, 0x19}}
	for last := range byte(16) {
		groups = append(groups, harness.MAC{0x01, 0x80, 0xc2, 0, 0, last}) // IEEE 802.1Q, table 8-1
	}
	frames := func(from, to harness.MAC) [][]byte {
		var all [][]byte
		for i, etherType := range types {
			for _, destination := range []harness.MAC{to, groups[i%len(groups)]} {
				b := make([]byte, 60+rng.IntN(1455))
				for at := harness.EthernetHeader + 1; at < len(b); at++ {
					b[at] = byte(rng.Uint32()) // behind a zero: no stack takes it for its own
				}
				copy(b, destination[:])
				copy(b[6:], from[:])
				b[12], b[13] = byte(etherType>>8), byte(etherType)
				all = append(all, b)
			}
		}
		return all
	}
	window := r.Introduce(ctx)
	for _, c := range r.Lab.Topology.Clients {
		w := r.WorkerOf(c)
		for n := range lengths {
			r.Send(ctx, window, c.Name, r.raw(fmt.Sprintf("from %s, %d", c.Name, n), frames(c.MAC, w.MAC)))
			r.Send(ctx, window, w.Name, r.raw(fmt.Sprintf("from %s, %d", w.Name, n), frames(w.MAC, c.MAC)))
		}
	}
	r.Close(ctx, window)
}
