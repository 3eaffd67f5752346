package agent

import (
	"testing"

	. "github.com/onsi/gomega"
)

func TestTheKernelsLogSinceAMoment(t *testing.T) {
	g := NewWithT(t)
	const text = "<6>[    1.500000] old\n<6>[   12.000001] new\ngoes on\n[13.000000] newer\n[broken\n"
	g.Expect(parseKernelLog(text, 1000e9, 1012e9)).To(Equal([]LogLine{
		{Time: 1012e9 + 1000, Text: "new"}, {Time: 1012e9 + 1000, Text: "goes on"}, {Time: 1013e9, Text: "newer"}, {Time: 1013e9, Text: "[broken"},
	}))
	g.Expect(parseKernelLog("", 0, 0)).To(BeEmpty())
}
