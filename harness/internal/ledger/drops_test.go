package ledger_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness/internal/drops"
)

// octetsOf are a frame's of a batch.
func (m *mover) octetsOf(batch, number int) []byte {
	for n, data := range m.sent[batch].Batch.AllFrames() {
		if n == number {
			return append([]byte(nil), data...)
		}
	}
	panic("no such frame")
}

func TestTheKernelsReasonStandsWhereTheFrameIsMissing(t *testing.T) {
	atW0 := drops.Kind{Node: "host", Interface: "w0", Reason: "QDISC_DROP", Function: "__dev_queue_xmit"}
	drop := func(kind drops.Kind, octets []byte) drops.Drop {
		return drops.Drop{Time: epoch + 3_000_000, Kind: kind, Length: len(octets), Octets: octets[:min(len(octets), 60)]}
	}
	for name, test := range map[string]struct {
		report   func(m *mover) drops.Report
		want     string
		unwanted string
	}{
		"the drop is this frame's": {func(m *mover) drops.Report {
			return drops.Report{Drops: []drops.Drop{drop(atW0, m.octetsOf(0, 2))}, Totals: []drops.Total{{Kind: atW0, Packets: 1, Copied: 1}}}
		}, `host/w0 +out .* ← missing: dropped by the kernel at host/w0: reason QDISC_DROP in __dev_queue_xmit`, "no drop of it"},
		"it is another frame's": {func(m *mover) drops.Report {
			return drops.Report{Drops: []drops.Drop{drop(atW0, m.octetsOf(0, 1))}, Totals: []drops.Total{{Kind: atW0, Packets: 1, Copied: 1}}}
		}, `the kernel reports no drop of it$`, "missing: dropped"},
		"it may be one that was not copied": {func(m *mover) drops.Report {
			return drops.Report{Totals: []drops.Total{{Kind: atW0, Packets: 9, Copied: 2, Lost: 7}}, Uncounted: 3}
		}, `no drop of it; of those that were counted and not copied it may be one: 7 at host/w0: reason QDISC_DROP in __dev_queue_xmit, 3 more`, "missing: dropped"},
		"its flow's super-packet": {func(m *mover) drops.Report {
			d := drop(atW0, m.octetsOf(0, 1))
			d.Segment = 46
			return drops.Report{Drops: []drops.Drop{d}}
		}, `missing: dropped by the kernel at host/w0: .*, as part of a super-packet of its flow`, "no drop of it"},
		"copies were dropped by programs before": {func(m *mover) drops.Report {
			octets := m.octetsOf(0, 2)
			program := drops.Kind{Node: "switch", Interface: "c0", Reason: "TC_INGRESS", Function: "f"}
			return drops.Report{Drops: []drops.Drop{drop(program, octets), drop(atW0, octets)}}
		}, `host/w0 +out .* ← missing: dropped by the kernel at host/w0: reason QDISC_DROP in __dev_queue_xmit`, "TC_INGRESS"},
		"the program refused it": {func(m *mover) drops.Report {
			octets := m.octetsOf(0, 2)
			elsewhere := drops.Kind{Node: "w1", Interface: "eth0", Reason: "OTHER", Function: "f"}
			return drops.Report{Drops: []drops.Drop{drop(elsewhere, octets), drop(drops.Kind{Node: "host", Interface: "trunk0", Reason: "TC_INGRESS", Function: "f"}, octets)}}
		}, `host/w0 +out .* ← missing: dropped by the kernel at host/trunk0: reason TC_INGRESS in f`, "no drop of it"},
		"nobody listens": {func(*mover) drops.Report { return drops.Report{Unavailable: "this kernel has no BTF"} },
			`why the kernel dropped it is not known: this kernel has no BTF`, "missing: dropped"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			m := small()
			m.drop(m.frame(0, 2), "host/w0", "w0/eth0")
			in := m.input()
			in.Drops = func() drops.Report { return test.report(m) }
			err := m.lab.Check(in).Err()
			g.Expect(err).To(MatchError(MatchRegexp(test.want)))
			g.Expect(err.Error()).NotTo(ContainSubstring(test.unwanted))
		})
	}
}

func TestTheEndOfAFramesWayIsNoReason(t *testing.T) {
	g := NewWithT(t)
	m := small()
	m.drop(m.frame(3, 0), "host/w0", "w0/eth0")
	in := m.input()
	asked := 0
	in.Drops = func() drops.Report {
		asked++
		return drops.Report{Drops: []drops.Drop{{Kind: drops.Kind{Node: "c1", Interface: "eth0", Reason: "UNHANDLED_PROTO"}, Octets: m.octetsOf(3, 0)[:60]}}}
	}
	g.Expect(m.lab.Check(in).Err()).To(MatchError(ContainSubstring("dropped by the kernel at c1/eth0")), "where it was sent, it does not end")
	g.Expect(asked).To(Equal(1))

	m = small()
	m.add(m.frame(0, 0), "host/w0", "host/w0", 2)
	m.drop(m.frame(0, 0), "switch/c0")
	in = m.input()
	in.Drops = func() drops.Report {
		return drops.Report{Drops: []drops.Drop{{Kind: drops.Kind{Node: "w0", Interface: "eth0", Reason: "UNHANDLED_PROTO"}, Octets: m.octetsOf(0, 0)[:60]}}}
	}
	g.Expect(m.lab.Check(in).Err()).To(MatchError(And(ContainSubstring("← missing"), Not(ContainSubstring("UNHANDLED_PROTO")))))
}

func TestAGreenWindowAsksForNoDrops(t *testing.T) {
	m := small()
	in := m.input()
	in.Drops = func() drops.Report { t.Error("asked"); return drops.Report{} }
	NewWithT(t).Expect(m.lab.Check(in).Err()).To(Succeed())
}
