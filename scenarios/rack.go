package scenarios

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"net/netip"

	"github.com/vlandemux/vlandemux/harness"
)

// rack is what device testers have: n devices which all come with the same
// address, each on a VLAN of its own, and a worker with an address of the same
// network for each. It has clients c0… and workers w0…, client i assigned to worker
// i. MACs, VIDs (1–4094) and tag protocols are drawn from the seed. The MACs of c1,
// c3 and so on differ from those of the client before in a single bit.
func rack(v Variant, n int) harness.Topology {
	t := harness.Topology{Switch: v.Switch, Demux: harness.Demux{Attach: v.Attach}}
	rng := v.Seed.Rand("rack")
	vids := rng.Perm(maxVID)
	var before harness.MAC
	for i := range n {
		mac := station(rng)
		if i%2 == 1 {
			mac = flipped(before, stationBits()[rng.IntN(47)])
		}
		before = mac
		protocol := []uint16{harness.Dot1Q, harness.Dot1AD}[rng.IntN(2)]
		t.Clients = append(t.Clients, harness.Client{
			Name: fmt.Sprintf("c%d", i), MAC: mac, Place: harness.Place{VLAN: harness.VLAN{Protocol: protocol, VID: uint16(1 + vids[i])}},
			Worker: fmt.Sprintf("w%d", i), Addresses: []netip.Prefix{clientPrefix(v.Family)},
		})
		t.Workers = append(t.Workers, harness.Worker{
			Name: fmt.Sprintf("w%d", i), MAC: station(rng), Addresses: []netip.Prefix{workerPrefix(v.Family)},
		})
	}
	return t
}

// rackOf is a case's topology: a rack of n with changes.
func rackOf(n int, changes ...func(*harness.Topology)) func(Variant) harness.Topology {
	return func(v Variant) harness.Topology {
		t := rack(v, n)
		for _, change := range changes {
			change(&t)
		}
		return t
	}
}

// maxVID is the highest VID of an access port; the lowest is 1.
const maxVID = 4094

// example is the rack of the example this project started from: its MACs, and
// 802.1Q VLANs drawn from 2–17 without putting one back.
func example(v Variant, n int) harness.Topology {
	t := rack(v, n)
	vids := v.Seed.Rand("vlans").Perm(16)
	for i := range n {
		t.Clients[i].MAC, t.Workers[i].MAC = harness.MAC{0x02, 5: byte(i)}, harness.MAC{0x02, 4: 1, 5: byte(i)}
		t.Clients[i].VLAN = harness.VLAN{Protocol: harness.Dot1Q, VID: uint16(2 + vids[i])}
	}
	return t
}

// station draws the MAC of one station: neither a group nor zero.
func station(rng *rand.Rand) harness.MAC {
	for {
		var octets [8]byte
		binary.BigEndian.PutUint64(octets[:], rng.Uint64())
		mac := harness.MAC(octets[:6])
		if mac[0] &^= groupBit; mac != (harness.MAC{}) {
			return mac
		}
	}
}

// groupBit of the first octet makes a MAC that of a group.
const groupBit = 1

// stationBits are the bits of a MAC that make it another station's, counted from
// the first octet's highest.
func stationBits() []int {
	var bits []int
	for bit := range 48 {
		if bit != 7 {
			bits = append(bits, bit)
		}
	}
	return bits
}

func flipped(mac harness.MAC, bit int) harness.MAC {
	mac[bit/8] ^= 0x80 >> (bit % 8)
	return mac
}

// neighbours are the stations whose MACs differ from one in a single bit, and in a
// single octet.
func neighbours(rng *rand.Rand, mac harness.MAC) []harness.MAC {
	var all []harness.MAC
	for _, bit := range stationBits() {
		all = append(all, flipped(mac, bit))
	}
	for octet := range mac {
		other := mac
		for bits.OnesCount8(other[octet]^mac[octet]) < 2 {
			other[octet] = byte(rng.Uint32())
			if octet == 0 {
				other[0] &^= groupBit
			}
		}
		all = append(all, other)
	}
	return all
}

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
