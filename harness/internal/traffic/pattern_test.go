package traffic

import (
	"bytes"
	"testing"

	. "github.com/onsi/gomega"
)

func TestAnyPartOfThePatternStandsAlone(t *testing.T) {
	g := NewWithT(t)
	whole := make([]byte, 4099)
	fillPattern(whole, 42, 0)
	for offset := range 40 {
		for _, length := range []int{0, 1, 7, 8, 9, 63, 4000} {
			part := make([]byte, length)
			fillPattern(part, 42, uint64(offset))
			g.Expect(part).To(Equal(whole[offset:offset+length]), "%d octets from %d", length, offset)
		}
	}
	other := make([]byte, len(whole))
	fillPattern(other, 43, 0)
	g.Expect(bytes.Contains(other, whole[8:24])).To(BeFalse(), "another seed is another stream, shifted or not")
}

func TestTheVerifierNamesTheFirstWrongOctet(t *testing.T) {
	g := NewWithT(t)
	stream := make([]byte, 3000)
	fillPattern(stream, 7, 0)
	stream[2500] ^= 0x10
	v := verifier{seed: 7, end: 3000}
	write := func(part []byte) error {
		_, err := v.Write(part)
		return err
	}
	g.Expect(write(stream[:1000])).To(Succeed())
	g.Expect(write(stream[1000:2000])).To(Succeed())
	g.Expect(write(stream[2000:])).To(MatchError(And(ContainSubstring("after 2000 right octets"), ContainSubstring("octet 500 is"))))
	// A doubled part is as wrong as a changed one.
	v = verifier{seed: 7, end: 3000}
	g.Expect(write(stream[:64])).To(Succeed())
	g.Expect(write(stream[:64])).NotTo(Succeed())
}
