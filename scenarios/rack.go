package scenarios

import (
	"fmt"
	"net/netip"

	"github.com/vlandemux/vlandemux/harness"
)

// A rack is what device testers have: n devices which all come with the same
// address, each on a VLAN of its own, and a worker with an address of the same
// network for each.
const (
	firstVID = 2 // as in the example this project started from
	lastVID  = 17
)

// rack has clients c0… and workers w0…, client i assigned to worker i. The
// VLANs are drawn from 2–17 without putting one back.
func rack(v Variant, n int) harness.Topology {
	t := harness.Topology{Switch: v.Switch, Demux: harness.Demux{Attach: v.Attach}}
	vids := v.Seed.Rand("vlans").Perm(lastVID - firstVID + 1)
	for i := range n {
		worker := fmt.Sprintf("w%d", i)
		t.Clients = append(t.Clients, harness.Client{
			Name: fmt.Sprintf("c%d", i), MAC: clientMAC(i),
			VLAN:   harness.VLAN{Protocol: harness.Dot1Q, VID: uint16(firstVID + vids[i%len(vids)])},
			Worker: worker, Addresses: []netip.Prefix{clientPrefix(v.Family)},
		})
		t.Workers = append(t.Workers, harness.Worker{
			Name: worker, MAC: workerMAC(i), Addresses: []netip.Prefix{workerPrefix(v.Family)},
		})
	}
	return t
}

func clientMAC(i int) harness.MAC { return harness.MAC{0x02, 0, 0, 0, 0, byte(i)} }
func workerMAC(i int) harness.MAC { return harness.MAC{0x02, 0, 0, 0, 1, byte(i)} }

// clientPrefix is the address every client of a rack has.
func clientPrefix(f Family) netip.Prefix {
	if f == IPv6 {
		return netip.MustParsePrefix("fd00::100/64")
	}
	return netip.MustParsePrefix("172.16.1.100/24")
}

// workerPrefix is the address every worker of a rack has.
func workerPrefix(f Family) netip.Prefix {
	if f == IPv6 {
		return netip.MustParsePrefix("fd00::5/64")
	}
	return netip.MustParsePrefix("172.16.1.5/24")
}
