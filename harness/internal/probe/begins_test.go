package probe

import (
	"net/netip"
	"testing"

	. "github.com/onsi/gomega"
)

func TestBeginsWhateverTagsAndChecksum(t *testing.T) {
	g := NewWithT(t)
	b := Batch{
		Name: "flow", ID: 7, Count: 2, Source: MAC{2, 5: 1}, Destination: MAC{2, 5: 2}, Size: 300,
		Flow: &Flow{Protocol: UDP, Source: netip.MustParseAddrPort("192.0.2.1:1"), Destination: netip.MustParseAddrPort("192.0.2.2:2")},
	}
	first, _ := b.Packet(0, nil)
	second, _ := b.Packet(1, nil)
	b.Tags = []Tag{{Protocol: Dot1Q, TCI: 7}, {Protocol: Dot1Q, TCI: 8}}
	b.Size += 8
	tagged, _ := b.Packet(0, nil)
	g.Expect(Begins(first, tagged[:200])).To(BeTrue())
	g.Expect(Begins(tagged, first[:200])).To(BeTrue())
	g.Expect(Begins(first, second[:200])).To(BeFalse(), "another frame of the batch")
	g.Expect(SameFlow(first, second[:100])).To(BeTrue())
	unfinished := append([]byte(nil), first[:200]...)
	unfinished[34+udpChecksum] ^= 0xff
	g.Expect(Begins(first, unfinished)).To(BeTrue())
	unfinished[60] ^= 1
	g.Expect(Begins(first, unfinished)).To(BeFalse())
	g.Expect(Begins(first[:100], first)).To(BeFalse(), "longer than the frame")
	for n := range 100 {
		Begins(first, first[:n])
		Begins(first[:n], first)
		SameFlow(first[:n], first)
		SameFlow(first, first[:n])
	}
	other := append([]byte(nil), second...)
	other[36]++ // a port
	g.Expect(SameFlow(first, other)).To(BeFalse())
}
