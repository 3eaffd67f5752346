package fault

import (
	"bytes"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/bpf/nettest"
)

// Drop is left to the scenario: a socket that sends at the interface itself is told of it,
// and sends again.
func TestBreaksTheNthFrameAndNoOther(t *testing.T) {
	const frames, nth = 10, 4
	frame := func(i int) []byte {
		f := bytes.Repeat([]byte{byte(i)}, 60)
		copy(f, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5})
		return f
	}
	for kind, broken := range map[Kind]func([][]byte) [][]byte{
		Double: func(all [][]byte) [][]byte { return append(all[:nth:nth], all[nth-1:]...) },
		Corrupt: func(all [][]byte) [][]byte {
			all[nth-1][59] ^= 0xff
			return all
		},
	} {
		t.Run(string(kind), func(t *testing.T) {
			g := NewWithT(t)
			nettest.Enter(t)
			nettest.Veth(t, "a", "b")
			from, to := nettest.Open(t, "a"), nettest.Open(t, "b")
			g.Expect(Install("a", Fault{Kind: kind, Nth: nth})).To(Succeed())
			var all [][]byte
			for i := range frames {
				g.Expect(from.SendRaw(nettest.GSO{}, frame(i))).To(Succeed())
				all = append(all, frame(i))
			}
			want := broken(all)
			g.Eventually(to.Count).WithTimeout(time.Minute).Should(BeNumerically(">=", len(want)))
			g.Expect(to.Frames()).To(Equal(want))
		})
	}
}

func TestRefusesWhatIsNoFault(t *testing.T) {
	g := NewWithT(t)
	nettest.Enter(t)
	nettest.Veth(t, "a", "b")
	g.Expect(Install("a", Fault{Kind: Drop})).To(MatchError(ContainSubstring("counted from 1")))
	g.Expect(Install("a", Fault{Kind: "bend", Nth: 1})).To(MatchError(ContainSubstring(`no such fault: "bend"`)))
	g.Expect(Install("c", Fault{Kind: Drop, Nth: 1})).To(MatchError(ContainSubstring("interface c")))
}
