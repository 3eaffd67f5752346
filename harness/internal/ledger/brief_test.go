package ledger

import (
	"testing"

	. "github.com/onsi/gomega"
)

func TestABriefVerdictShowsWhereAFloodWentWrong(t *testing.T) {
	g := NewWithT(t)
	hops := make([]TracedHop, 3000)
	for i := 2900; i < 3000; i++ {
		hops[i].Fault = faultMissing
	}
	v := Verdict{WrongFrames: []WrongFrame{{Hops: hops}}}
	brief := v.Brief().WrongFrames[0].Hops
	g.Expect(brief).To(HaveLen(2*mostBrief + 1))
	g.Expect(brief[mostBrief]).To(Equal(hops[2900]))
	g.Expect(brief[2*mostBrief].Tap).To(Equal("and 2800 more"))
	g.Expect(v.WrongFrames[0].Hops).To(HaveLen(3000), "the verdict itself")
}
