package result

import (
	"testing"

	. "github.com/onsi/gomega"
)

func TestRatiosAreOfTheSameRound(t *testing.T) {
	g := NewWithT(t)
	var run Run
	for _, round := range []struct{ limit, ours float64 }{{50, 60}, {100, 110}, {100, 150}} { // the clock was twice as fast in one
		run.Add(Sample{Name: "program", Variant: "limit", Unit: "ns", Value: round.limit})
		run.Add(Sample{Name: "program", Variant: "ours", Unit: "ns", Value: round.ours})
		run.Add(Sample{Name: "start", Variant: "ours", Unit: "s", Value: 1})
	}
	rows := run.Rows()
	g.Expect(rows).To(HaveLen(3))
	g.Expect(rows[0].Ratio).To(Equal(Ratio{"limit", 1, 1, 1}))
	g.Expect(rows[1].Ratio).To(Equal(Ratio{"limit", 1.2, 1.1, 1.5}))
	g.Expect(rows[2].Ratio).To(BeZero(), "nothing stands beside it")
}
