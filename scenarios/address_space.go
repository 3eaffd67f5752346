package scenarios

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness"
)

// AddressSpace takes its clients from everywhere: no MAC, VID, priority or tag
// protocol is special, and a MAC that is nearly a client's is a stranger's.
func AddressSpace() Scenario {
	return Scenario{
		Name:    "address space",
		Summary: "Clients with MACs, VIDs, priorities and tag protocols from the whole space are told apart from each other and from strangers.",
		Cases: []Case{{
			Text:     "serves 66 clients and drops whoever differs from one in a single bit or octet",
			Topology: rackOf(2),
			Run:      addressSpace,
		}},
	}
}

// member is a client without a container: what it sends is injected on the trunk.
type member struct {
	mac    harness.MAC
	tag    harness.Tag
	worker harness.Worker
}

// crowd draws members. The first three have the lowest VIDs and the highest; every
// fourth is on the VLAN of the one before, with a priority of its own, and every eighth
// has the VID of the one before under the other protocol.
func crowd(rng *rand.Rand, workers []harness.Worker, n int) []member {
	members := make([]member, n)
	for i := range members {
		m := &members[i]
		*m = member{
			mac:    station(rng),
			tag:    harness.Tag{Protocol: []uint16{harness.Dot1Q, harness.Dot1AD}[rng.IntN(2)], TCI: uint16(rng.Uint32())},
			worker: workers[i/2%len(workers)],
		}
		vid := m.tag.VID() % (maxVID + 1)
		switch {
		case i < 3:
			vid = []uint16{0, 1, maxVID}[i]
		case i%4 == 3:
			vid, m.tag.Protocol = members[i-1].tag.VID(), members[i-1].tag.Protocol
		case i%8 == 5:
			vid, m.tag.Protocol = members[i-1].tag.VID(), harness.Dot1Q^harness.Dot1AD^members[i-1].tag.Protocol
		}
		m.tag.TCI = m.tag.TCI&^0xfff | vid
	}
	return members
}

func addressSpace(ctx context.Context, r *Run) {
	const size = 64
	t := r.Lab.Topology
	rng := r.Seed.Rand("crowd")
	members := crowd(rng, t.Workers, size)
	fmt.Fprintf(r.Out, "%d clients without containers:\n", size)
	r.assignAll(ctx, members)
	for _, m := range members {
		fmt.Fprintf(r.Out, "  %s  %-32s %s\n", m.mac, m.tag, m.worker.Name)
	}
	for _, c := range t.Clients {
		members = append(members, member{mac: c.MAC, tag: c.VLAN.Tag(0), worker: r.WorkerOf(c)})
	}

	window := r.Introduce(ctx)
	r.Step("each client is seen at its place")
	known := map[harness.MAC]bool{}
	var up [][]byte
	arrived := map[string]uint64{}
	for _, m := range members {
		known[m.mac] = true
		up = append(up, r.drawn(rng, m.mac, m.worker.MAC, m.tag))
		arrived[m.worker.Name+"/eth0"]++
	}
	for _, c := range t.Clients {
		arrived[c.Worker+"/eth0"]++ // its introduction
	}
	r.Check(window.Inject(ctx, 0, r.raw("from every client", up)))
	r.Await(ctx, window, arrived)

	r.Step("each worker answers every client, the other worker's too, and all at once")
	for _, w := range t.Workers {
		var down [][]byte
		for _, m := range members {
			down = append(down, r.drawn(rng, w.MAC, m.mac))
		}
		r.Send(ctx, window, w.Name, r.raw("answers of "+w.Name, down), r.Batch("broadcast of "+w.Name, 2, w.MAC, broadcast()))
	}

	r.Step("strangers next to them send, and are sent to")
	var from [][]byte
	to := map[string][][]byte{}
	for _, m := range append(members[:6:6], members[size:]...) {
		for _, mac := range neighbours(rng, m.mac) {
			if known[mac] {
				continue // another client
			}
			from = append(from, r.drawn(rng, mac, m.worker.MAC, m.tag))
			to[m.worker.Name] = append(to[m.worker.Name], r.drawn(rng, m.worker.MAC, mac))
		}
		from = append(from, r.drawn(rng, flipped(m.mac, 7), m.worker.MAC, m.tag)) // a group
	}
	r.Check(window.Inject(ctx, 0, r.raw("from strangers", from)))
	r.Step("clients and workers send to the addresses of the host's interfaces, which are no special ones")
	for _, c := range t.Clients {
		r.Check(window.Inject(ctx, 0, r.Batch("to the trunk's own address from "+c.Name, 5, c.MAC, window.MAC("host/trunk0")).Tagged(c.VLAN.Tag(0))))
		r.Send(ctx, window, c.Worker, r.Batch("to the address of the host's end from "+c.Worker, 5, r.WorkerOf(c).MAC, window.MAC("host/"+c.Worker)))
	}
	for _, w := range t.Workers {
		r.Send(ctx, window, w.Name, r.raw("to strangers", to[w.Name]))
	}
	verdict := r.Close(ctx, window)
	r.Expect(verdict.Demux.Ended["unknown_client"]).To(gomega.BeEquivalentTo(len(from)-8), "frames from strangers")
}

// drawn is one frame of 90 to 1514 octets beside its tags: Ethernet, IPv4 or IPv6.
func (r *Run) drawn(rng *rand.Rand, source, destination harness.MAC, tags ...harness.Tag) []byte {
	b := harness.Batch{
		ID: rng.Uint32(), Count: 1, Source: source, Destination: destination, Tags: tags,
		Size: 90 + rng.IntN(1515-90) + 4*len(tags),
	}
	if n := rng.IntN(5); n < 4 {
		client, worker := crafted([]Family{IPv4, IPv6}[n/2])
		b.Flow = &harness.Flow{Protocol: []string{harness.UDP, harness.TCP}[n%2], Source: client, Destination: worker}
	}
	frame, _ := b.Packet(0, nil)
	return frame
}

func (r *Run) raw(name string, frames [][]byte) harness.Batch {
	return harness.Batch{Name: name, ID: r.Seed.BatchID(name), Raw: frames}
}

// numbered is a frame of 64 octets with one tag, like no other of another number.
func numbered(number uint32, source, destination harness.MAC, tag harness.Tag) []byte {
	frame := slices.Concat(destination[:], source[:])
	for _, word := range []uint16{tag.Protocol, tag.TCI, 0x88b5} {
		frame = binary.BigEndian.AppendUint16(frame, word)
	}
	return append(binary.BigEndian.AppendUint32(frame, number), make([]byte, 64-22)...)
}
