package tail

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
)

func TestTheEndIsKept(t *testing.T) {
	g := NewWithT(t)
	b := New(20)
	fmt.Fprint(b, "first line\n")
	g.Expect(b.String()).To(Equal("first line\n"))
	fmt.Fprint(b, "second line\nthird line\n")
	g.Expect(b.String()).To(Equal("[earlier output was dropped]\nthird line\n"))
	n, err := b.Write(make([]byte, 100))
	g.Expect(n, err).To(Equal(100))
	g.Expect(b.String()).To(HaveLen(len("[earlier output was dropped]\n") + 20))
}

func TestWhatCameAfterAMoment(t *testing.T) {
	g := NewWithT(t)
	b := New(20)
	fmt.Fprint(b, "of an earlier lab\n")
	begun := b.Octets()
	g.Expect(b.Since(begun)).To(BeEmpty())
	fmt.Fprint(b, "of this one\n")
	g.Expect(b.Since(begun)).To(Equal("of this one\n"))
	fmt.Fprint(b, "and much more of it\n")
	g.Expect(b.Since(begun)).To(HavePrefix("[earlier output was dropped]\n"))
}
