package ledger_test

import (
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/demux/control"
	"github.com/vlandemux/vlandemux/harness/internal/ledger"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// roaming is small with three frames of c2 from elsewhere: from VLAN 8, from VLAN 8
// with a PCP, and from the second trunk.
func roaming() *mover {
	const ms = int64(1e6)
	m := small()
	m.now = epoch + 100*ms
	m.batch("switch/trunk0", epoch+100*ms, ms, 1, client(2), worker(1), probe.Tag{Protocol: probe.Dot1Q, TCI: 8})
	m.batch("switch/trunk0", epoch+110*ms, ms, 1, client(2), worker(1), probe.Tag{Protocol: probe.Dot1Q, TCI: 0x6008})
	m.batch("switch/trunk1", epoch+200*ms, ms, 1, client(2), worker(1), probe.Tag{Protocol: probe.Dot1Q, TCI: 8})
	m.run()
	return m
}

func TestWhatTheDemuxListsWrongIsFound(t *testing.T) {
	assignment := func(in *ledger.Input, n int) *control.Assignment {
		i := slices.IndexFunc(in.Assignments, func(a control.Assignment) bool { return a.MAC == client(n) })
		return &in.Assignments[i]
	}
	// relocate changes a location in both lists.
	relocate := func(in *ledger.Input, n int, change func(*control.Location)) {
		a := assignment(in, n)
		l := *a.Location
		change(&l)
		a.Location = &l
		for i := range in.After.Clients {
			if in.After.Clients[i].MAC == a.MAC {
				in.After.Clients[i].Location = &l
			}
		}
	}
	events := func(in *ledger.Input, change func([]control.Event) []control.Event) {
		all := change(slices.Clone(in.Events(nil)))
		in.Events = func(func([]control.Event) bool) []control.Event { return all }
	}
	last := func(e []control.Event) *control.Event { return &e[len(e)-1] }
	tests := []struct {
		name   string
		tamper func(in *ledger.Input)
		want   string
	}{
		{"another worker", func(in *ledger.Input) { assignment(in, 0).Worker = "w1" }, `lists 02:00:00:00:00:01 as assigned to "w1", want "w0"`},
		{"an assignment missing", func(in *ledger.Input) { in.Assignments = in.Assignments[1:] }, `lists no assignment of 02:00:00:00:00:01, want one to w0`},
		{"an assignment of nobody", func(in *ledger.Input) {
			in.Assignments = append(in.Assignments, control.Assignment{Assignment: demux.Assignment{MAC: probe.MAC{2, 5: 0x99}, Worker: "w0"}})
		}, `lists an assignment of 02:00:00:00:00:99 to w0`},
		{"an assignment twice", func(in *ledger.Input) { in.Assignments = append(in.Assignments, in.Assignments[0]) }, `no second one`},
		{"another VID", func(in *ledger.Input) { relocate(in, 0, func(l *control.Location) { l.VID = 6 }) },
			`lists 02:00:00:00:00:01 at 802.1Q vid 6 on trunk0, want 802.1Q vid 5 on trunk0`},
		{"another PCP", func(in *ledger.Input) { relocate(in, 0, func(l *control.Location) { l.PCP = 1 }) }, `at 802.1Q vid 5 pcp 1 on trunk0, want`},
		{"DEI", func(in *ledger.Input) { relocate(in, 0, func(l *control.Location) { l.DEI = true }) }, `at 802.1Q vid 5 dei on trunk0, want`},
		{"another protocol", func(in *ledger.Input) { relocate(in, 0, func(l *control.Location) { l.Protocol = "802.1ad" }) }, `at 802.1ad vid 5 on trunk0, want`},
		{"no protocol", func(in *ledger.Input) { relocate(in, 0, func(l *control.Location) { l.Protocol = "ISL" }) }, `"ISL" is neither`},
		{"another trunk", func(in *ledger.Input) { relocate(in, 0, func(l *control.Location) { l.Trunk = "trunk1" }) }, `on trunk1, want`},
		{"a trunk of nobody", func(in *ledger.Input) { relocate(in, 0, func(l *control.Location) { l.Trunk = "trunk9" }) }, `no trunk "trunk9"`},
		{"a location forgotten", func(in *ledger.Input) { assignment(in, 0).Location = nil }, `at no location, want`},
		{"a location never learned", func(in *ledger.Input) { assignment(in, 3).Location = assignment(in, 0).Location },
			`lists 02:00:00:00:00:04 at 802.1Q vid 5 on trunk0, want no location`},
		{"counters that name another location", func(in *ledger.Input) { client0(in).Location = nil },
			`the counters list 02:00:00:00:00:01 with worker "w0" at no location`},
		{"a wrong checksum", func(in *ledger.Input) {
			in.ChecksumErrors = map[string]uint64{"w0 Tcp InCsumErrors": 2, "w1 Tcp InCsumErrors": 0}
		},
			`2 packets were dropped for a wrong checksum: counter w0 Tcp InCsumErrors`},
		{"places lost", func(in *ledger.Input) { in.After.PlacesLost = 3 }, `no memory for 3 places`},
		{"events lost", func(in *ledger.Input) { in.After.EventsLost = 2 }, `it lost 2 events`},
		{"no event of the first frame", func(in *ledger.Input) {
			events(in, func(e []control.Event) []control.Event { return e[1:] })
		}, `no event says that 02:00:00:00:00:01 came to 802.1Q vid 5 on trunk0`},
		{"no event of a move", func(in *ledger.Input) {
			events(in, func(e []control.Event) []control.Event { return e[:len(e)-1] })
		}, `no event says that 02:00:00:00:00:03 came to 802.1Q vid 8 on trunk1`},
		{"an event twice", func(in *ledger.Input) {
			events(in, func(e []control.Event) []control.Event { return append(e, *last(e)) })
		}, `event "moved" of 02:00:00:00:00:03 .* it was at 802.1Q vid 8 on trunk1`},
		{"an event of a change of PCP alone", func(in *ledger.Input) {
			events(in, func(e []control.Event) []control.Event {
				pcp := *last(e)
				pcp.From, pcp.To = &control.Location{Trunk: "trunk0", Protocol: "802.1Q", VID: 8}, &control.Location{Trunk: "trunk0", Protocol: "802.1Q", VID: 8, PCP: 3}
				pcp.Time = time.Unix(0, epoch+110_020_000)
				return append(e[:len(e)-1], pcp, *last(e))
			})
		}, `: the place has not changed`},
		{"a move from where it never was", func(in *ledger.Input) {
			events(in, func(e []control.Event) []control.Event {
				last(e).From = &control.Location{Trunk: "trunk0", Protocol: "802.1Q", VID: 9}
				return e
			})
		}, `from 802.1Q vid 9 on trunk0 to 802.1Q vid 8 on trunk1: no frame has caused it`},
		{"a move without the PCP it had", func(in *ledger.Input) {
			events(in, func(e []control.Event) []control.Event {
				from := *last(e).From
				from.PCP = 0
				last(e).From = &from
				return e
			})
		}, `: no frame has caused it`},
		{"a time of another frame", func(in *ledger.Input) {
			events(in, func(e []control.Event) []control.Event { last(e).Time = time.Unix(0, epoch); return e })
		}, `: no frame has caused it`},
		{"a move called learned", func(in *ledger.Input) {
			events(in, func(e []control.Event) []control.Event { last(e).Type = "learned"; return e })
		}, `: it makes no sense`},
		{"an event of nobody", func(in *ledger.Input) {
			events(in, func(e []control.Event) []control.Event { last(e).MAC = probe.MAC{2, 5: 0x99}; return e })
		}, `: the MAC is not assigned`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			m := roaming()
			g.Expect(m.lab.Check(m.input()).Err()).NotTo(HaveOccurred())
			in := m.input()
			test.tamper(in)
			v := m.lab.Check(in)
			g.Expect(v.Wrong).To(BeZero())
			g.Expect(v.Err()).To(MatchError(MatchRegexp(test.want)))
		})
	}
}

func TestEventsAreNotDemandedThatNobodyWatched(t *testing.T) {
	g := NewWithT(t)
	m := roaming()
	in := m.input()
	in.Events = func(func([]control.Event) bool) []control.Event { return m.events[2:] }
	g.Expect(m.lab.Check(in).Err()).To(HaveOccurred())
	in.EventsMissed = true
	g.Expect(m.lab.Check(in).Err()).NotTo(HaveOccurred())
}

func TestAnEventIsTimedAsWellAsItsDataplaneCan(t *testing.T) {
	const late = 100 * time.Millisecond
	tests := []struct {
		name     string
		earliest time.Duration // after the frame; 0: not said
		want     string        // "" for right
	}{
		{"exactly", 0, `event "moved" of 02:00:00:00:00:03 .*: no frame has caused it`},
		{"from before the frame", -time.Millisecond, ""},
		{"from after the frame", late - time.Millisecond, `event "moved" of 02:00:00:00:00:03 .*: no frame has caused it`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			m := roaming()
			in := m.input()
			event := &m.events[len(m.events)-1]
			frame := event.Time
			event.Time = frame.Add(late)
			if test.earliest != 0 {
				event.Earliest = frame.Add(test.earliest)
			}
			if err := m.lab.Check(in).Err(); test.want == "" {
				g.Expect(err).NotTo(HaveOccurred())
			} else {
				g.Expect(err).To(MatchError(MatchRegexp(test.want)))
			}
		})
	}
}

func TestALocationKnownBeforeIsUsed(t *testing.T) {
	for _, known := range []bool{true, false} {
		g := NewWithT(t)
		j := moved()
		j.lab.Moves = nil
		if known {
			j.lab.Learned = map[probe.MAC][]ledger.Location{client(2): {{Tag: probe.Tag{Protocol: probe.Dot1Q, TCI: 7}}}}
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

func TestAClientIsLearnedOnceAnAssignment(t *testing.T) {
	const ms = int64(1e6)
	for _, forgetful := range []bool{false, true} {
		g := NewWithT(t)
		lab := rack()
		for i, w := range []string{"w2", "", "w1"} {
			lab.Changes = append(lab.Changes, ledger.Change{MAC: client(2), Worker: w, Start: epoch + int64(10*i+10)*ms, End: epoch + int64(10*i+10)*ms + 100_000})
		}
		m := &mover{sim: newSim(1, lab)}
		m.batch("c2/eth0", epoch, ms/2, 100, client(2), worker(1))
		if forgetful {
			m.at(epoch+11*ms, func() { delete(m.located, client(2)) }) // by the change of worker
		}
		m.run()
		if err := m.lab.Check(m.input()).Err(); forgetful {
			g.Expect(err).To(MatchError(ContainSubstring("3 events say that 02:00:00:00:00:03 was learned, at most 2 can")))
		} else {
			g.Expect(err).NotTo(HaveOccurred())
		}
	}
}

func TestCountersGoOnFromTheWindowBefore(t *testing.T) {
	g := NewWithT(t)
	m := small()
	last := m.counters()
	now := m.counters()
	g.Expect(ledger.Unexplained(&last, &now, nil)).To(Succeed())
	client0(&ledger.Input{After: now}).Rx = control.Tally{}
	g.Expect(ledger.Unexplained(&last, &now, nil)).To(MatchError(MatchRegexp(
		`counter rx of 02:00:00:00:00:01 was 4 frames of \d+ octets at the end of the window before, and is 0 of 0`)))
	again := []ledger.Change{{MAC: client(0)}, {MAC: client(0), Worker: "w0"}} // unassigned and assigned
	client0(&ledger.Input{After: now}).Tx = control.Tally{}
	g.Expect(ledger.Unexplained(&last, &now, again)).To(Succeed())
	g.Expect(ledger.Unexplained(&last, &now, again[1:])).To(HaveOccurred(), "reassigned, which keeps the counters")
	now = m.counters()
	g.Expect(ledger.Unexplained(&last, &now, again[1:])).To(Succeed())
	g.Expect(ledger.Unexplained(&last, &now, again)).To(MatchError(ContainSubstring("although the client was unassigned since")))
	now = m.counters()
	now.Drops[0].Packets++
	g.Expect(ledger.Unexplained(&last, &now, nil)).To(MatchError(ContainSubstring("counter dropped of untagged was 0 frames of 0 octets")))
}
