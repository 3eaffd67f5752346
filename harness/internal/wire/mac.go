package wire

import "github.com/vlandemux/vlandemux/bpf/demux"

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
