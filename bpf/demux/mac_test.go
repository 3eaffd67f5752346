package demux

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	. "github.com/onsi/gomega"
)

func TestSortedByMACThoseOfOneStayInTheirOrder(t *testing.T) {
	g := NewWithT(t)
	list := make([]Assignment, 1000)
	for i := range list {
		list[i] = Assignment{MAC: MAC{byte(rand.IntN(3)) << 1, 0, 1, byte(rand.IntN(2)), 0, byte(rand.IntN(50))}, Worker: strconv.Itoa(i)}
	}
	want := slices.SortedStableFunc(slices.Values(list), func(a, b Assignment) int { return a.MAC.Compare(b.MAC) })
	for range 2 { // the second time it is in order
		SortAssignments(list)
		g.Expect(list).To(Equal(want))
	}
	SortAssignments(nil)
}
