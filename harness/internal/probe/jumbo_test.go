package probe_test

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// A super-packet of more than 64 KiB over IPv6 has a hop-by-hop header with its length; its segments
// have not.
func TestBigTCPOverIPv6(t *testing.T) {
	for _, tags := range [][]probe.Tag{nil, {{Protocol: probe.Dot1Q, TCI: 7}}} {
		g := NewWithT(t)
		b := probe.Batch{
			Name: "big", ID: 1, Count: 1, Tags: tags, GSO: &probe.GSO{SegmentSize: 1400, Segments: 100},
			Flow: &probe.Flow{Protocol: probe.TCP, Source: netip.MustParseAddrPort("[2001:db8::1]:1"), Destination: netip.MustParseAddrPort("[2001:db8::2]:2")},
		}
		var want, got [][]byte
		for _, frame := range b.Frames(0) {
			want = append(want, slices.Clone(frame))
		}
		g.Expect(want).To(HaveLen(100))

		packet, hdr := b.Packet(0, nil)
		network := 14 + 4*len(tags)
		jumbo := []byte{packet[network+6], 0, 0xc2, 4, 0, 0, 0, 0}
		binary.BigEndian.PutUint32(jumbo[4:], uint32(len(packet)-network-40+len(jumbo)))
		packet = slices.Insert(packet, network+40, jumbo...)
		packet[network+4], packet[network+5], packet[network+6] = 0, 0, 0
		hdr.CsumStart += 8
		before := slices.Clone(packet)
		var s probe.Segmenter
		g.Expect(s.Frames(packet, hdr, func(frame []byte) bool {
			got = append(got, slices.Clone(frame))
			return true
		})).To(Succeed())
		g.Expect(packet).To(Equal(before), "it was not changed")
		g.Expect(got).To(HaveLen(len(want)))
		for i := range want {
			g.Expect(got[i]).To(Equal(want[i]), "segment %d", i)
		}
	}
}
