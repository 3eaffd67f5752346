package ledger_test

import (
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness/internal/ledger"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

func TestThereIsNoVerdictWithoutEveryTap(t *testing.T) {
	tests := []struct {
		name   string
		tamper func(in *ledger.Input)
		want   string
	}{
		{"lost", func(in *ledger.Input) { in.Taps[0].Report.Dropped = 3; in.Taps[0].Report.Read -= 3 }, "tap c0/eth0 lost 3 of 12 packets: its ring was full"},
		{"undecoded", func(in *ledger.Input) {
			in.Taps[1].Report.Undecoded, in.Taps[1].Report.UndecodedReason = 1, "it is SCTP"
		}, "tap c1/eth0 could not turn 1 of 12 packets into wire frames, the first because of: it is SCTP"},
		{"reading fewer than were sent", func(in *ledger.Input) { in.Taps[0].Report.Packets++ },
			"tap c0/eth0 read 12 packets, the kernel counted 13 and dropped 0"},
		{"short", func(in *ledger.Input) { in.Taps[0].Report.Frames++ }, "tap c0/eth0 reports 13 frames and handed over 12 sightings"},
		{"missing", func(in *ledger.Input) { in.Taps = in.Taps[1:] }, "c0/eth0: nothing was given of what it saw"},
		{"twice", func(in *ledger.Input) { in.Taps = append(in.Taps, in.Taps[0]) }, "c0/eth0: the tap is there twice"},
		{"foreign", func(in *ledger.Input) { in.Taps[0].Name = "c9/eth0" }, "c9/eth0: the lab has no such tap"},
		{"unreadable", func(in *ledger.Input) {
			in.Journeys = func(yield func([]probe.Step, error) bool) { yield(nil, errors.New("the pipe broke")) }
		}, "reading what the taps saw: the pipe broke"},
		{"no direction", func(in *ledger.Input) {
			in.Journeys = journeys([]probe.Step{{}})
		}, "frame 0000000000000000 was seen direction 0 at tap 0 of 23"},
		{"of no tap", func(in *ledger.Input) {
			in.Journeys = journeys([]probe.Step{{Tap: 23, Sighting: probe.Sighting{Direction: probe.In}}})
		}, "frame 0000000000000000 was seen in at tap 23 of 23"},
		{"joined in part", func(in *ledger.Input) {
			once := []probe.Step{{Sighting: probe.Sighting{Direction: probe.In}}}
			in.Journeys = journeys(once, once)
		}, "frame 0000000000000000 is there twice"},
		{"sent nowhere", func(in *ledger.Input) { in.Sent[0].Tap = "c9/eth0" }, `batch "c0/eth0-1" was sent at c9/eth0: the lab has no such tap`},
		{"sockets of nobody", func(in *ledger.Input) { in.Sockets = []string{"c9"} }, `sockets of "c9": the lab has no such client or worker`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			m := small()
			in := m.input()
			test.tamper(in)
			v := m.lab.Check(in)
			g.Expect(v.Inconclusive()).To(BeTrue())
			g.Expect(v.Err()).To(MatchError(And(HavePrefix("inconclusive: "), ContainSubstring(test.want))))
			g.Expect(v.Err().Error()).NotTo(ContainSubstring("wrong frame"))
			g.Expect(v.String()).To(HavePrefix("ledger: inconclusive\n"))
		})
	}
}

func journeys(all ...[]probe.Step) iter.Seq2[[]probe.Step, error] {
	return func(yield func([]probe.Step, error) bool) {
		for _, steps := range all {
			if !yield(steps, nil) {
				return
			}
		}
	}
}

func TestSocketsNeedNoBatch(t *testing.T) {
	g := NewWithT(t)
	m := small()
	in := m.input()
	in.Sent = slices.Delete(in.Sent, 0, 1)
	v := m.lab.Check(in)
	g.Expect(v.Err()).To(MatchError(MatchRegexp(`of no batch(.|\n)*c0/eth0 +out .* 0 +1 .* ← too many`)))
	in.Sockets = []string{"c0"}
	g.Expect(m.lab.Check(in).Err()).NotTo(HaveOccurred())
}

func TestASocketDoesNotExcuseABatch(t *testing.T) {
	g := NewWithT(t)
	m := small()
	m.drop(m.frame(0, 0), "c0/eth0", "switch/c0", "switch/trunk0", "host/trunk0", "host/w0", "w0/eth0", "switch/c1", "c1/eth0")
	in := m.input()
	in.Sockets = []string{"c0", "w0"}
	g.Expect(m.lab.Check(in).Err()).To(MatchError(MatchRegexp(`c0/eth0 +out .* 1 +0 .* ← missing`)))
}

// alike sends n identical frames.
func alike(n int) *mover {
	m := &mover{sim: newSim(3, rack())}
	raw := make([][]byte, n)
	for i := range raw {
		raw[i] = octets(client(2), worker(1), 1)
	}
	m.send("c2/eth0", epoch, 100, probe.Batch{Name: "alike", ID: 1, Raw: raw})
	m.run()
	return m
}

func TestIdenticalFramesAreCounted(t *testing.T) {
	g := NewWithT(t)
	m := alike(3)
	g.Expect(m.lab.Check(m.input()).Err()).NotTo(HaveOccurred())
	m.seen["w1/eth0"] = m.seen["w1/eth0"][1:]
	err := m.lab.Check(m.input()).Err()
	g.Expect(err).To(MatchError(MatchRegexp(`one of 3 identical ones(.|\n)*w1/eth0 +in +no tag +60 +3 +2 .* ← missing`)))
}

func TestManyIdenticalFrames(t *testing.T) {
	g := NewWithT(t)
	m := alike(20_000)
	g.Expect(m.lab.Check(m.input()).Err()).NotTo(HaveOccurred())
}

func TestEqualAccountsAreToldOnce(t *testing.T) {
	g := NewWithT(t)
	m := &mover{sim: newSim(3, rack())}
	m.batch("c2/eth0", epoch, 100_000, 60, client(2), worker(1))
	m.run()
	for n := range 25 {
		m.drop(m.frame(0, n+2), "w1/eth0")
	}
	m.drop(m.frame(0, 40), "host/w1", "w1/eth0")
	v := m.lab.Check(m.input())
	text := v.Err().Error()
	g.Expect(text).To(ContainSubstring(`wrong frame 1 of 26 (and 24 more in the same way): batch "c2/eth0-1" frame 2,`))
	g.Expect(text).To(ContainSubstring(`wrong frame 26 of 26: batch "c2/eth0-1" frame 40,`))
	g.Expect(strings.Count(text, "wrong frame ")).To(Equal(2))
	g.Expect(text).To(MatchRegexp(`w1/eth0 +in +25 +0`))
	g.Expect(v.Rejected).To(HaveLen(26))
	g.Expect(v.Rejected[0]).To(Equal(ledger.Rejected{Fingerprint: m.frame(0, 2), Comment: "w1/eth0 in: want 1, got 0", Octets: m.octetsOf(0, 2)}))
	g.Expect(v.Rejected[25].Octets).To(Equal(m.octetsOf(0, 40)))
}

func TestOnlyTheFirstAccountsAreTold(t *testing.T) {
	g := NewWithT(t)
	m := small()
	for batch, tap := range []string{"w0/eth0", "c0/eth0", "w1/eth0", "w0/eth0", "c1/eth0"} {
		m.drop(m.frame(batch, 1), tap)
	}
	v := m.lab.Check(m.input())
	g.Expect(v.Err()).To(MatchError(HaveSuffix("and 2 wrong frames more")))
	g.Expect(strings.Count(v.Account(), "\nwrong frame ")).To(Equal(5))
}

func TestRetainedFramesShowWhatChanged(t *testing.T) {
	g := NewWithT(t)
	m := small()
	m.edit(m.frame(0, 2), func(s *probe.Sighting) { s.Fingerprint = 99 }, "host/w0", "w0/eth0")
	in := m.input()
	in.Capture = func(tap string, fp probe.Fingerprint) ([]byte, bool) {
		if tap != "host/w0" || fp != 99 {
			return nil, false
		}
		for _, data := range m.sent[0].Batch.Frames(2) {
			changed := slices.Clone(data)
			changed[20] ^= 0xff
			return changed, true
		}
		return nil, false
	}
	text := m.lab.Check(in).Err().Error()
	g.Expect(text).To(ContainSubstring("octets differ from octet 20"))
	g.Expect(text).To(ContainSubstring("it begins\n    00000000  02 00 00 00 01 01 02 00"))
}

func TestAReportHasTheTotals(t *testing.T) {
	g := NewWithT(t)
	m := small()
	text := m.lab.Check(m.input()).String()
	g.Expect(text).To(HavePrefix("ledger: every frame, counter and location is right\n32 frames (5817 octets) sent by batches"))
	g.Expect(text).To(MatchRegexp(`c0/eth0 +8 +1447 +4 +786\n`))
	g.Expect(text).To(MatchRegexp(`HELD BY +<10µs .* LONGEST\n +switch +\d+ .*\n +demux +\d+ .*\n +links +\d+ .* \d.*µs\n`))
	g.Expect(text).To(MatchRegexp(`demux +32 +20 +20 +4: not_assigned; 4: unknown_client; 4: unlearned`))
}
