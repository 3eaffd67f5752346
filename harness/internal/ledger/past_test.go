package ledger_test

import (
	"slices"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness/internal/ledger"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// Frames go past host/w0, and not past host/w1, whose worker is in the host.
func TestFramesThatGoPastTheHostsEnd(t *testing.T) {
	g := NewWithT(t)
	out := func(s probe.Sighting) bool { return s.Direction == probe.Out }
	past := func(change func(m *mover)) *ledger.Verdict {
		m := small()
		m.lab.RedirectPeer, m.lab.Workers[1].InHost = true, true
		crossed := m.seen["host/w0"]
		m.seen["host/w0"] = slices.DeleteFunc(slices.Clone(crossed), out)
		g.Expect(m.seen["host/w0"]).NotTo(HaveLen(len(crossed)))
		change(m)
		return m.lab.Check(m.input())
	}
	without := func(tap string, direction probe.Direction) func(m *mover) {
		return func(m *mover) {
			at := slices.IndexFunc(m.seen[tap], func(s probe.Sighting) bool { return s.Direction == direction })
			m.seen[tap] = slices.Delete(m.seen[tap], at, at+1)
		}
	}
	g.Expect(past(func(*mover) {}).Err()).NotTo(HaveOccurred())
	for wrong, change := range map[string]func(m *mover){
		`host/w0 +out +1 +0\n`:      without("w0/eth0", probe.In),
		`w1/eth0 +in +1 +0\n`:       without("w1/eth0", probe.In),
		`host/w1 +out +(1 +0|0 +1)`: without("host/w1", probe.Out),
		`host/w0 +out +0 +1\n`: func(m *mover) {
			s := m.seen["w0/eth0"][slices.IndexFunc(m.seen["w0/eth0"], func(s probe.Sighting) bool { return s.Direction == probe.In })]
			s.Direction = probe.Out
			m.seen["host/w0"] = append(m.seen["host/w0"], s)
		},
		`host/w0 +out +\d+ +0\n`: func(m *mover) { m.lab.RedirectPeer = false },
	} {
		g.Expect(past(change).Err()).To(MatchError(MatchRegexp(wrong)))
	}
}

// What a stranger sends on a trunk is not seen at the host's end, is counted there, and must not come in.
func TestFramesThatAreDroppedInTheTrunksDriver(t *testing.T) {
	g := NewWithT(t)
	early := func(change func(m *mover)) *ledger.Verdict {
		m := small()
		m.lab.EarlyDrop = true
		stranger := m.frame(7, 0)
		for n := range 4 {
			stranger = m.frame(7, n)
			came := len(m.seen["host/trunk0"])
			m.seen["host/trunk0"] = slices.DeleteFunc(slices.Clone(m.seen["host/trunk0"]), func(s probe.Sighting) bool { return s.Fingerprint == stranger })
			g.Expect(m.seen["host/trunk0"]).To(HaveLen(came - 1))
		}
		change(m)
		return m.lab.Check(m.input())
	}
	g.Expect(early(func(*mover) {}).Err()).NotTo(HaveOccurred())
	g.Expect(early(func(m *mover) { m.lab.EarlyDrop = false }).Err()).To(MatchError(MatchRegexp(`host/trunk0 +in +4 +0\n`)))
	g.Expect(early(func(m *mover) {
		at := slices.IndexFunc(m.seen["switch/trunk0"], func(s probe.Sighting) bool { return s.Fingerprint == m.frame(7, 1) })
		s := m.seen["switch/trunk0"][at]
		s.Direction = probe.In
		m.seen["host/trunk0"] = append(m.seen["host/trunk0"], s)
	}).Err()).To(MatchError(MatchRegexp(`host/trunk0 +in +0 +1\n`)))
}
