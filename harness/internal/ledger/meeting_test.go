package ledger_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

func TestABroadcastDuringAMoveNamesWhoMissedIt(t *testing.T) {
	g := NewWithT(t)
	j := moved()
	j.up(0, 1, 7)
	data := octets(worker(1), broadcast(), 1)
	j.record("w1/eth0", probe.Out, data, epoch+1500*us)
	j.record("host/w1", probe.In, data, epoch+1510*us)
	j.record("host/trunk0", probe.Out, tagged(data, 7), epoch+1520*us)
	j.record("switch/trunk0", probe.In, tagged(data, 7), epoch+1530*us)
	j.count("flooded w1", 64)
	v := j.verdict()
	g.Expect(v.Err()).NotTo(HaveOccurred())
	g.Expect(v.Costs).To(HaveLen(1))
	g.Expect(v.Costs[0].Client).To(Equal("c2"))
	g.Expect(v.Costs[0].Hop).To(Equal("switch/trunk0"))
}

func TestABroadcastThatMeetsAMove(t *testing.T) {
	const meeting, later = 2020, 2100 // µs; the demux learns of the move between 2030 and 2040
	tests := []struct {
		name   string
		at     int64
		copies []byte // VIDs
		wrong  string
	}{
		{"leaves on the old VLAN", meeting, []byte{7}, ""},
		{"leaves on the new VLAN", meeting, []byte{8}, ""},
		{"leaves on both", meeting, []byte{7, 8}, ""},
		{"leaves on none", meeting, nil, ""},
		{"leaves on the new VLAN twice", meeting, []byte{8, 8}, `host/trunk0 +out +802.1Q vid 8 .* 1 +2 .* ← too many`},
		{"leaves on a third one too", meeting, []byte{7, 8, 9}, `host/trunk0 +out +802.1Q vid 9 .* 0 +1 .* ← too many`},
		{"leaves on both, later", later, []byte{7, 8}, `host/trunk0 +out +802.1Q vid 7 .* 0 +1 .* ← too many`},
		{"leaves on none, later", later, nil, `host/trunk0 +out +802.1Q vid 8 .* 1 +0 .* ← missing`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			j := moved()
			j.up(0, 1, 7)
			j.up(2000, 2, 8)
			data := octets(worker(1), broadcast(), 1)
			j.record("w1/eth0", probe.Out, data, epoch+test.at*us)
			j.record("host/w1", probe.In, data, epoch+(test.at+10)*us)
			arrived := false
			for i, vid := range test.copies {
				j.record("host/trunk0", probe.Out, tagged(data, vid), epoch+(test.at+30+int64(i))*us)
				j.record("switch/trunk0", probe.In, tagged(data, vid), epoch+(test.at+40+int64(i))*us)
				j.count("flooded w1", 64)
				if vid == 8 && !arrived {
					arrived = true
					j.record("switch/c2", probe.Out, data, epoch+(test.at+50)*us)
					j.record("c2/eth0", probe.In, data, epoch+(test.at+60)*us)
				}
			}
			if test.copies == nil {
				j.count("dropped unlearned", 60)
			}
			err := j.verdict().Err()
			if test.wrong == "" {
				g.Expect(err).NotTo(HaveOccurred())
			} else {
				g.Expect(err).To(MatchError(MatchRegexp(test.wrong)))
			}
		})
	}
}
