package probe

import (
	"math/rand/v2"
	"slices"
	"testing"

	. "github.com/onsi/gomega"
)

func TestFingerprintIsTheSameUnderAnyTags(t *testing.T) {
	g := NewWithT(t)
	for _, b := range []*Batch{
		{Count: 50, Size: 60, MaxSize: 1514},
		{Count: 50, Size: 66, MaxSize: 1514, Flow: flow(TCP, false)},
		{Count: 50, Size: 86, MaxSize: 1514, Flow: flow(TCP, true)},
	} {
		seen := map[Fingerprint]bool{}
		for _, frame := range wire(b) {
			want := FingerprintOf(frame)
			g.Expect(seen[want]).To(BeFalse())
			seen[want] = true
			tagged := frame
			for range 4 {
				tagged = insert(tagged, 12, []byte{0x81, 0, byte(rand.Uint32()), byte(rand.Uint32())})
				if rand.IntN(2) == 0 {
					tagged[12], tagged[13] = 0x88, 0xa8
				}
				g.Expect(FingerprintOf(tagged)).To(Equal(want))
			}
		}
	}
}

func TestFingerprintTellsEveryBitApart(t *testing.T) {
	g := NewWithT(t)
	frame, _ := (&Batch{Count: 1, Size: 100, Flow: flow(TCP, true), Tags: []Tag{{Dot1Q, 5}}, ID: 1}).Packet(0, nil)
	want := FingerprintOf(frame)
	for at := range frame {
		for bit := range 8 {
			changed := slices.Clone(frame)
			changed[at] ^= 1 << bit
			inTCI := at == 14 || at == 15
			g.Expect(FingerprintOf(changed) == want).To(Equal(inTCI), "octet %d bit %d", at, bit)
		}
	}
	g.Expect(FingerprintOf(append(slices.Clone(frame), 0))).NotTo(Equal(want), "padding counts")
	g.Expect(FingerprintOf(frame[:len(frame)-1])).NotTo(Equal(want))
}

// 0xffff and 0x0000 are the same one's complement number; Linux writes either.
func TestFingerprintKnowsBothSpellingsOfAZeroTCPChecksum(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for tags := range 2 {
			g := NewWithT(t)
			b := &Batch{Count: 1, Size: 100, Flow: flow(TCP, v6), Tags: []Tag{{Dot1Q, 5}}[:tags]}
			frame, _ := b.Packet(0, nil)
			at := b.headerLen() - tcpHeader + tcpChecksum
			zero, ones, other := slices.Clone(frame), slices.Clone(frame), slices.Clone(frame)
			copy(zero[at:], []byte{0, 0})
			copy(ones[at:], []byte{0xff, 0xff})
			copy(other[at:], []byte{0xff, 0xfe})
			g.Expect(FingerprintOf(zero)).To(Equal(FingerprintOf(ones)))
			g.Expect(FingerprintOf(other)).NotTo(Equal(FingerprintOf(ones)))
		}
	}
}

func TestFingerprintTakesAnyOctets(t *testing.T) {
	frame, _ := (&Batch{Count: 1, Size: 70, Flow: flow(TCP, false), Tags: []Tag{{Dot1Q, 5}}}).Packet(0, nil)
	for n := range frame {
		FingerprintOf(frame[:n])
	}
}
