package probe

import (
	"bytes"
	"net"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	. "github.com/onsi/gomega"
)

// sctpPacket is one of SCTP with its checksum.
func sctpPacket(g *WithT, v6 bool, id uint16, chunks []byte) []byte {
	var network gopacket.SerializableLayer = &layers.IPv4{
		Version: 4, TTL: 64, Protocol: layers.IPProtocolSCTP, Id: id, Flags: layers.IPv4DontFragment, SrcIP: net.IP{192, 0, 2, 1}, DstIP: net.IP{192, 0, 2, 2},
	}
	etherType := layers.EthernetTypeIPv4
	if v6 {
		network, etherType = &layers.IPv6{
			Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolSCTP, SrcIP: net.ParseIP("2001:db8::1"), DstIP: net.ParseIP("2001:db8::2"),
		}, layers.EthernetTypeIPv6
	}
	buffer := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	a, b := macA(), macB()
	g.Expect(gopacket.SerializeLayers(buffer, options,
		&layers.Ethernet{SrcMAC: a[:], DstMAC: b[:], EthernetType: etherType}, network,
		&layers.SCTP{SrcPort: 5001, DstPort: 5002, VerificationTag: 0x01020304}, gopacket.Payload(chunks),
	)).To(Succeed())
	return slices.Clone(buffer.Bytes())
}

// sctpChunkOf is a chunk of so many octets, without what fills it.
func sctpChunkOf(number, octets int) []byte {
	return append([]byte{0, 3, byte(octets >> 8), byte(octets)}, bytes.Repeat([]byte{byte(number)}, octets-sctpChunkHeader)...)
}

// A segment takes chunks for as long as it has room, 1000 octets with its IP header here. A chunk is filled up to a
// multiple of 4, and one for which no segment has room has one of its own.
func TestASuperPacketOfSCTPStandsForFramesFullOfChunks(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		g := NewWithT(t)
		const size = 1000
		room := size - sctpHeader - ipv4Header
		if v6 {
			room = size - sctpHeader - ipv6Header
		}
		var all []byte
		var want [][]byte
		number := 0
		for i, lengths := range [][]int{{room}, {500, room - 501}, {40}, {2000}, {5, 300, 301, 302}, {room - 3}, {43}} {
			var chunks []byte
			for _, length := range lengths {
				number++
				chunks = append(append(chunks, sctpChunkOf(number, length)...), make([]byte, -length&3)...)
			}
			all = append(all, chunks...)
			want = append(want, sctpPacket(g, v6, uint16(65533+i), chunks))
		}
		packet := sctpPacket(g, v6, 65533, all)
		transport := len(packet) - len(all) - sctpHeader
		copy(packet[transport+sctpChecksum:], "rest") // unfinished
		before := slices.Clone(packet)
		var got [][]byte
		var s Segmenter
		keep := func(frame []byte) bool {
			got = append(got, slices.Clone(frame))
			return true
		}
		super := VirtioNetHeader{GSOType: gsoSCTP, GSOSize: size}
		g.Expect(s.Frames(packet, super, keep)).To(Succeed())
		g.Expect(packet).To(Equal(before), "it was not changed")
		g.Expect(got).To(HaveLen(len(want)))
		for i := range want {
			g.Expect(got[i]).To(Equal(want[i]), "segment %d", i)
		}

		got = nil
		err := s.Frames(packet[:len(packet)-4], super, keep)
		g.Expect(err).To(MatchError(ContainSubstring("chunk 11 has 43 octets, 40 are left")))
		g.Expect(got).To(BeEmpty())
		g.Expect(s.Frames(packet[:transport+4], super, keep)).To(MatchError(ContainSubstring("it is no packet of SCTP")))
	}
}

func TestFinishesTheChecksumOfSCTP(t *testing.T) {
	g := NewWithT(t)
	want := sctpPacket(g, false, 1, sctpChunkOf(1, 48))
	packet := slices.Clone(want)
	const transport = ethernetHeader + ipv4Header
	clear(packet[transport+sctpChecksum:][:4])
	var s Segmenter
	g.Expect(s.Frames(packet, VirtioNetHeader{Flags: VirtioNeedsChecksum, CsumStart: transport, CsumOffset: sctpChecksum}, func(frame []byte) bool {
		g.Expect(frame).To(Equal(want))
		return true
	})).To(Succeed())
}
