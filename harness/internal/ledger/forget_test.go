package ledger_test

import (
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// forget has the demux forget a location, and say so if it announces it.
func (s *sim) forget(mac probe.MAC, announced bool) {
	if announced {
		s.events = append(s.events, control.Event{Type: "forgotten", MAC: mac, From: s.located[mac].listed(), Time: time.Unix(0, s.now)})
	}
	delete(s.located, mac)
}

func TestUnusedLocationsAreForgotten(t *testing.T) {
	const ms = int64(1e6)
	tests := []struct {
		name   string
		forget func(*mover)
		want   string // "" for right
	}{
		{"once they have the age", func(m *mover) { m.at(epoch+1100*ms, func() { m.forget(client(2), true) }) }, ""},
		{"late", func(m *mover) { m.at(epoch+2500*ms, func() { m.forget(client(2), true) }) }, ""},
		{"never", func(*mover) {}, `no event says that the location of 02:00:00:00:00:03 was forgotten, which sent nothing for 3s after`},
		{"too early", func(m *mover) { m.at(epoch+900*ms, func() { m.forget(client(2), true) }) }, `event "forgotten" of 02:00:00:00:00:03 .* was not unused for as long`},
		{"although they are used", func(m *mover) {
			m.at(epoch+1100*ms, func() { m.forget(client(2), true); m.forget(client(0), true) })
		}, `event "forgotten" of 02:00:00:00:00:01 .* was not unused for as long`},
		{"in words alone", func(m *mover) {
			m.at(epoch+1100*ms, func() {
				at := m.located[client(2)]
				m.forget(client(2), true)
				m.located[client(2)] = at
			})
		}, `had to end at the demux: unlearned`},
		{"without a word", func(m *mover) { m.at(epoch+1100*ms, func() { m.forget(client(2), false) }) },
			`no event says that the location of 02:00:00:00:00:03 was forgotten`},
		{"twice", func(m *mover) {
			m.at(epoch+1100*ms, func() { m.forget(client(2), true); m.forget(client(2), true) })
		}, `event "forgotten" of 02:00:00:00:00:03 .* from no location to no location: it makes no sense`},
		{"and learned again without a word", func(m *mover) {
			m.at(epoch+1100*ms, func() { m.forget(client(2), true) })
			m.at(epoch+3500*ms, func() {
				m.events = slices.DeleteFunc(m.events, func(e control.Event) bool { return e.Time.UnixNano() > epoch+2900*ms })
			})
		}, `no event says that 02:00:00:00:00:03 came to 802.1Q vid 7 on trunk0`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			m := &mover{sim: newSim(1, rack())}
			m.lab.Age = time.Second
			m.batch("c0/eth0", epoch, 100*ms, 31, client(0), worker(0))
			m.batch("c2/eth0", epoch, ms, 1, client(2), worker(1))
			m.batch("w1/eth0", epoch+500*ms, ms, 2, worker(1), client(2))
			m.batch("w1/eth0", epoch+2900*ms, ms, 2, worker(1), client(2))
			m.batch("w1/eth0", epoch+2900*ms, ms, 2, worker(1), broadcast())
			m.batch("c2/eth0", epoch+3000*ms, ms, 1, client(2), worker(1))
			test.forget(m)
			m.run()
			if err := m.lab.Check(m.input()).Err(); test.want == "" {
				g.Expect(err).NotTo(HaveOccurred())
			} else {
				g.Expect(err).To(MatchError(MatchRegexp(test.want)))
			}
		})
	}
}
