package scenarios

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness"
)

// ARP lets 64 clients with one address announce it, probe for it, and ask for the
// one address that their workers share.
func ARP() Scenario {
	return Scenario{
		Name:    "ARP",
		Summary: "Clients that all have one address announce it and probe for it; nobody but their own worker hears of it, and that one answers each.",
		Labels:  []string{"arp"},
		Cases: []Case{{
			Text:     "answers 64 clients of one address, each from its own worker",
			Topology: func(v Variant) harness.Topology { return rack(v, 2) },
			Run:      arp,
		}},
	}
}

// arpRequest asks everybody who has target (RFC 826). Of sender's address itself it is an
// announcement, without sender's address a probe (RFC 5227).
func arpRequest(from harness.MAC, tag harness.Tag, sender, target netip.Addr) []byte {
	everybody := broadcast()
	frame := slices.Concat(everybody[:], from[:])
	for _, word := range []uint16{tag.Protocol, tag.TCI, 0x0806, 1, 0x0800, 0x0604, 1} {
		frame = binary.BigEndian.AppendUint16(frame, word)
	}
	frame = append(append(frame, from[:]...), sender.AsSlice()...)
	frame = append(append(frame, make([]byte, 6)...), target.AsSlice()...)
	return append(frame, make([]byte, 64-len(frame))...)
}

func arp(ctx context.Context, r *Run) {
	const size = 64
	t := r.Lab.Topology
	members := crowd(r.Seed.Rand("crowd"), t.Workers, size)
	for _, m := range members {
		r.Check(r.Lab.Assign(ctx, m.mac, m.worker.Name))
	}
	client, worker, none := clientPrefix(IPv4).Addr(), workerPrefix(IPv4).Addr(), netip.IPv4Unspecified()
	window := r.OpenWindow(ctx)
	window.AllowSockets() // the workers' kernels answer
	arrived := map[string]uint64{}
	for _, ask := range []struct {
		step           string
		sender, target netip.Addr
		answers        uint64
	}{
		{"each client probes for the address that all have", none, client, 0},
		{"each client announces it", client, client, 0},
		{"each client asks for its worker's", client, worker, 1},
	} {
		r.Step(ask.step)
		var frames [][]byte
		for _, m := range members {
			frames = append(frames, arpRequest(m.mac, m.tag, ask.sender, ask.target))
			arrived[m.worker.Name+"/eth0"] += 1 + ask.answers
			arrived["host/trunk0"] += 1 + ask.answers
		}
		r.Check(window.Inject(ctx, 0, r.raw(ask.step, frames)))
		r.Await(ctx, window, arrived)
	}
	r.Close(ctx, window)
	answered := map[harness.MAC]uint64{}
	for _, c := range r.Counters(ctx).Clients {
		answered[c.MAC] = c.Tx.Packets
	}
	for _, m := range members {
		r.Expect(answered[m.mac]).To(gomega.BeEquivalentTo(1), fmt.Sprintf("answers to %s", m.mac))
	}
}
