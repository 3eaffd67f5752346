package ledger_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
	"github.com/vlandemux/vlandemux/harness/probe"
	"github.com/vlandemux/vlandemux/harness/probe/ledger"
)

func TestWhatTheDemuxKnewBefore(t *testing.T) {
	g := NewWithT(t)
	assignments, learned, err := ledger.FromControl([]control.Assignment{
		{MAC: client(0).String(), Worker: "w0"},
		{MAC: client(2).String(), Worker: "w1", Location: &control.Location{Trunk: "trunk0", Protocol: "802.1ad", VID: 7, PCP: 5, DEI: true}},
	})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(assignments).To(Equal([]ledger.Assignment{{MAC: client(0), Worker: "w0"}, {MAC: client(2), Worker: "w1"}}))
	g.Expect(learned).To(Equal([]ledger.Location{{MAC: client(2), Trunk: "trunk0", Tag: probe.Tag{Protocol: probe.Dot1AD, TCI: 0xb007}}}))

	_, _, err = ledger.FromControl([]control.Assignment{{MAC: "c0", Worker: "w0"}})
	g.Expect(err).To(MatchError(ContainSubstring(`assignment of "c0" to w0`)))
	_, _, err = ledger.FromControl([]control.Assignment{{MAC: client(0).String(), Location: &control.Location{Protocol: "ISL"}}})
	g.Expect(err).To(MatchError(ContainSubstring(`"ISL" is neither`)))
}

func TestALocationKnownBeforeIsUsed(t *testing.T) {
	for _, known := range []bool{true, false} {
		g := NewWithT(t)
		j := moved()
		j.lab.Moves = nil
		if known {
			j.lab.Learned = []ledger.Location{{MAC: client(2), Trunk: "trunk0", Tag: probe.Tag{Protocol: probe.Dot1Q, TCI: 7}}}
		}
		j.down(0, 1, 7, true)
		if err := j.verdict().Err(); known {
			g.Expect(err).NotTo(HaveOccurred())
		} else {
			g.Expect(err).To(MatchError(ContainSubstring("had to end at the demux: unlearned")))
		}
	}
}

func TestWhatTheSwitchKnewBeforeMayBeUnknown(t *testing.T) {
	for _, knows := range []bool{true, false} {
		g := NewWithT(t)
		m := &mover{sim: newSim(1, rack())}
		m.batch("c0/eth0", epoch, 1000, 1, client(0), worker(0))
		m.run()
		m.lab.SwitchKnows = knows
		g.Expect(m.lab.Check(m.input()).Err()).NotTo(HaveOccurred(), "flooded to c1")
		m.drop(m.frame(0, 0), "switch/c1", "c1/eth0")
		if err := m.lab.Check(m.input()).Err(); knows {
			g.Expect(err).NotTo(HaveOccurred(), "not flooded to c1")
		} else {
			g.Expect(err).To(MatchError(MatchRegexp(`switch/c1 +out .* 1 +0 .* ← missing`)))
		}
	}
}
