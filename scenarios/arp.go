package scenarios

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness"
)

// ARP lets 64 clients with one address announce it, probe for it, and ask for the
// one address that their workers share, over IPv4 and, by the same link-local address, over IPv6.
func ARP() Scenario {
	return Scenario{
		Name:    "ARP",
		Summary: "Clients that all have one address announce it and probe for it; nobody but their own worker hears of it, and that one answers each.",
		Cases: []Case{
			{
				Text:     "answers 64 clients of one address, each from its own worker",
				Labels:   []string{"arp"},
				Topology: rackOf(2),
				Run: func(ctx context.Context, r *Run) {
					client, worker, none := clientPrefix(IPv4).Addr(), workerPrefix(IPv4).Addr(), netip.IPv4Unspecified()
					resolve(ctx, r, arpRequest, client, worker, none)
				},
			},
			{
				Text:   "answers 64 clients of one link-local IPv6 address, each from its own worker",
				Labels: []string{"link-local"},
				Topology: rackOf(2, func(t *harness.Topology) {
					for i := range t.Clients {
						t.Clients[i].Addresses = []netip.Prefix{netip.MustParsePrefix("fe80::100/64")}
						t.Workers[i].Addresses = []netip.Prefix{netip.MustParsePrefix("fe80::5/64")}
					}
				}),
				Run: func(ctx context.Context, r *Run) {
					t := r.Lab.Topology
					resolve(ctx, r, solicitation, t.Clients[0].Addresses[0].Addr(), t.Workers[0].Addresses[0].Addr(), netip.IPv6Unspecified())
				},
			},
		},
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

// solicitation asks who has target (RFC 4861). Without sender's address it detects a
// duplicate (RFC 4862); of sender's address itself it is an advertisement to all.
func solicitation(from harness.MAC, tag harness.Tag, sender, target netip.Addr) []byte {
	to := netip.MustParseAddr("ff02::1").As16()
	kind := layers.ICMPv6TypeNeighborAdvertisement
	var message gopacket.SerializableLayer = &layers.ICMPv6NeighborAdvertisement{
		Flags: 0x20, TargetAddress: target.AsSlice(), // override
		Options: layers.ICMPv6Options{{Type: layers.ICMPv6OptTargetAddress, Data: from[:]}},
	}
	if sender != target {
		copy(to[11:], append([]byte{1, 0xff}, target.AsSlice()[13:]...)) // its solicited-node group
		kind = layers.ICMPv6TypeNeighborSolicitation
		ask := &layers.ICMPv6NeighborSolicitation{TargetAddress: target.AsSlice()}
		if !sender.IsUnspecified() {
			ask.Options = layers.ICMPv6Options{{Type: layers.ICMPv6OptSourceAddress, Data: from[:]}}
		}
		message = ask
	}
	ip := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: sender.AsSlice(), DstIP: to[:]}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(uint8(kind), 0)}
	out := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	err := errors.Join(icmp.SetNetworkLayerForChecksum(ip), gopacket.SerializeLayers(out, options, ip, icmp, message))
	if err != nil {
		panic(err) // addresses of 16 octets fit
	}
	frame := slices.Concat([]byte{0x33, 0x33}, to[12:], from[:])
	for _, word := range []uint16{tag.Protocol, tag.TCI, 0x86dd} {
		frame = binary.BigEndian.AppendUint16(frame, word)
	}
	return append(frame, out.Bytes()...)
}

// resolve has the members of a crowd probe for client's address, announce it and ask for worker's.
func resolve(ctx context.Context, r *Run, request func(harness.MAC, harness.Tag, netip.Addr, netip.Addr) []byte, client, worker, none netip.Addr) {
	const size = 64
	t := r.Lab.Topology
	members := crowd(r.Seed.Rand("crowd"), t.Workers, size)
	r.assignAll(ctx, members)
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
			frames = append(frames, request(m.mac, m.tag, ask.sender, ask.target))
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
