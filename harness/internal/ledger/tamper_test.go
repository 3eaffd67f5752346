package ledger_test

import (
	"cmp"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
	"github.com/vlandemux/vlandemux/harness/internal/ledger"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// small is one batch of each kind, a millisecond apart, so that every order is known.
func small() *mover {
	const ms = int64(1e6)
	m := &mover{sim: newSim(7, rack())}
	m.batch("c0/eth0", epoch, ms, 4, client(0), worker(0))                                                      // 0
	m.batch("w0/eth0", epoch+10*ms, ms, 4, worker(0), client(0))                                                // 1
	m.batch("c2/eth0", epoch+20*ms, ms, 4, client(2), worker(1))                                                // 2
	m.batch("c1/eth0", epoch+30*ms, ms, 4, client(1), worker(0), probe.Tag{Protocol: probe.Dot1Q, TCI: 0x2003}) // 3
	m.batch("w0/eth0", epoch+40*ms, ms, 4, worker(0), broadcast())                                              // 4
	m.batch("w1/eth0", epoch+50*ms, ms, 4, worker(1), client(0))                                                // 5: not_assigned
	m.batch("w2/eth0", epoch+60*ms, ms, 4, worker(2), client(3))                                                // 6: unlearned
	m.batch("c4/eth0", epoch+70*ms, ms, 4, client(4), worker(0))                                                // 7: unknown_client
	m.run()
	return m
}

// frame is the fingerprint of a frame of a batch.
func (m *mover) frame(batch, number int) probe.Fingerprint {
	n := 0
	for i := range m.sent[batch].Batch.Packets() {
		for _, data := range m.sent[batch].Batch.Frames(i) {
			if n == number {
				return probe.FingerprintOf(data)
			}
			n++
		}
	}
	panic("no such frame")
}

// drop takes the sightings of a frame away from taps.
func (m *mover) drop(fp probe.Fingerprint, taps ...string) {
	for _, tap := range taps {
		before := len(m.seen[tap])
		m.seen[tap] = slices.DeleteFunc(m.seen[tap], func(s probe.Sighting) bool { return s.Fingerprint == fp })
		if len(m.seen[tap]) == before {
			panic("the frame was not seen at " + tap)
		}
	}
}

// edit changes the sightings of a frame at taps.
func (m *mover) edit(fp probe.Fingerprint, change func(*probe.Sighting), taps ...string) {
	for _, tap := range taps {
		found := false
		for i := range m.seen[tap] {
			if s := &m.seen[tap][i]; s.Fingerprint == fp {
				change(s)
				found = true
			}
		}
		if !found {
			panic("the frame was not seen at " + tap)
		}
	}
}

// late moves a frame's sightings at taps in time, and in the order of each tap.
func (m *mover) late(fp probe.Fingerprint, by time.Duration, taps ...string) {
	m.edit(fp, func(s *probe.Sighting) { s.Time += int64(by) }, taps...)
	for _, tap := range taps {
		slices.SortStableFunc(m.seen[tap], func(a, b probe.Sighting) int { return cmp.Compare(a.Time, b.Time) })
	}
}

// add copies a frame's first sighting at one tap to another, seen at the same time.
func (m *mover) add(fp probe.Fingerprint, from, to string, d probe.Direction) {
	i := slices.IndexFunc(m.seen[from], func(s probe.Sighting) bool { return s.Fingerprint == fp })
	s := m.seen[from][i]
	s.Direction = d
	m.seen[to] = append(m.seen[to], s)
	slices.SortStableFunc(m.seen[to], func(a, b probe.Sighting) int { return int(a.Time - b.Time) })
}

func TestSmallIsGreen(t *testing.T) {
	g := NewWithT(t)
	m := small()
	v := m.lab.Check(m.input())
	g.Expect(v.Err()).NotTo(HaveOccurred())
	g.Expect(v.Demux.Ended).To(Equal(map[string]uint64{"not_assigned": 4, "unlearned": 4, "unknown_client": 4}))
	g.Expect(v.Sent.Packets).To(BeEquivalentTo(32))
	g.Expect(v.Demux.In).To(Equal(v.Demux.Forwarded + 12))
}

func TestWhatIsWrongIsFound(t *testing.T) {
	const in, out = probe.In, probe.Out
	tests := []struct {
		name   string
		tamper func(m *mover)
		want   []string
	}{
		{"a frame lost in the demux", func(m *mover) {
			m.drop(m.frame(0, 2), "host/w0", "w0/eth0")
		}, []string{`batch "c0/eth0-1" frame 2, sent at c0/eth0`, `host/w0 +out +no tag +\d+ +1 +0 +- +← missing`, `w0/eth0 +in +no tag +\d+ +1 +0`}},
		{"a frame lost between host and worker", func(m *mover) {
			m.drop(m.frame(0, 2), "w0/eth0")
		}, []string{`host/w0 +out +no tag +\d+ +1 +1`, `w0/eth0 +in +no tag +\d+ +1 +0 +- +← missing`}},
		{"a frame lost in the switch", func(m *mover) {
			m.drop(m.frame(1, 0), "switch/c0", "c0/eth0")
		}, []string{`batch "w0/eth0-2" frame 0`, `switch/c0 +out .* 1 +0 +- +← missing`}},
		{"a frame lost on the trunk", func(m *mover) {
			m.drop(m.frame(0, 1), "host/trunk0", "host/w0", "w0/eth0")
		}, []string{`host/trunk0 +in +802.1Q vid 5 +\d+ +1 +0 +- +← missing`, `host/w0 +out +no tag +\d+ +1 +0`}},
		{"a frame never sent", func(m *mover) {
			m.drop(m.frame(5, 0), "w1/eth0", "host/w1")
		}, []string{`seen nowhere`, `w1/eth0 +out .* 1 +0 +- +← missing`}},
		{"a frame delivered twice", func(m *mover) {
			m.add(m.frame(0, 0), "host/w0", "host/w0", out)
			m.add(m.frame(0, 0), "w0/eth0", "w0/eth0", in)
		}, []string{`host/w0 +out +no tag +\d+ +1 +2 .* ← too many`}},
		{"a wrong VLAN", func(m *mover) {
			m.edit(m.frame(1, 1), func(s *probe.Sighting) { s.Tags[0].TCI = 6 }, "host/trunk0", "switch/trunk0")
			m.drop(m.frame(1, 1), "switch/c0", "c0/eth0")
		}, []string{`host/trunk0 +out +802.1Q vid 6 .* 0 +1 .* ← too many`, `host/trunk0 +out +802.1Q vid 5 .* 1 +0 .* ← missing`}},
		{"a wrong PCP", func(m *mover) {
			m.edit(m.frame(1, 1), func(s *probe.Sighting) { s.Tags[0].TCI |= 0x6000 }, "host/trunk0", "switch/trunk0")
		}, []string{`802.1Q vid 5 pcp 3 .* 0 +1`}},
		{"a wrong tag protocol", func(m *mover) {
			m.edit(m.frame(1, 1), func(s *probe.Sighting) { s.Tags[0].Protocol = probe.Dot1AD }, "host/trunk0", "switch/trunk0")
			m.drop(m.frame(1, 1), "switch/c0", "c0/eth0")
		}, []string{`host/trunk0 +out +802.1ad vid 5 .* 0 +1`}},
		{"an inner tag that changed", func(m *mover) {
			m.edit(m.frame(3, 1), func(s *probe.Sighting) { s.Tags[0].TCI = 3 }, "host/w0", "w0/eth0")
		}, []string{`host/w0 +out +802.1Q vid 3 +\d+ +0 +1`, `host/w0 +out +802.1Q vid 3 pcp 1 +\d+ +1 +0`}},
		{"a tag left on", func(m *mover) {
			m.edit(m.frame(0, 1), func(s *probe.Sighting) {
				s.Tags[0], s.TagCount, s.Length = probe.Tag{Protocol: probe.Dot1Q, TCI: 5}, 1, s.Length+4
			}, "host/w0", "w0/eth0")
		}, []string{`host/w0 +out +802.1Q vid 5 +\d+ +0 +1`}},
		{"a dropped frame that goes on to the host's stack", func(m *mover) {
			m.add(m.frame(7, 1), "host/trunk0", "host/stack", in)
			m.edit(m.frame(7, 1), func(s *probe.Sighting) { *s = untagged(*s) }, "host/stack")
		}, []string{`host/stack +out +no tag +\d+ +0 +1 .* ← too many`}},
		{"a forwarded frame that goes on to the host's stack too", func(m *mover) {
			m.add(m.frame(1, 2), "host/w0", "host/stack", in)
		}, []string{`host/stack +out +no tag +\d+ +0 +1 .* ← too many`, `host/trunk0 +out .* 1 +1`}},
		{"another worker's frame", func(m *mover) {
			m.add(m.frame(0, 3), "host/w0", "host/w1", out)
			m.add(m.frame(0, 3), "w0/eth0", "w1/eth0", in)
			m.drop(m.frame(0, 3), "host/w0", "w0/eth0")
		}, []string{`host/w0 +out +no tag +\d+ +1 +0`, `host/w1 +out +no tag +\d+ +0 +1`}},
		{"a frame that another client sees", func(m *mover) {
			m.add(m.frame(1, 3), "c0/eth0", "c2/eth0", in)
		}, []string{`c2/eth0 +in +no tag +\d+ +0 +1 .* ← too many`}},
		{"a frame flooded by a switch that had learned", func(m *mover) {
			m.add(m.frame(1, 3), "switch/c0", "switch/c1", out)
			m.add(m.frame(1, 3), "c0/eth0", "c1/eth0", in)
		}, []string{`switch/c1 +out +no tag +\d+ +0 +1`}},
		{"an octet that changed", func(m *mover) {
			m.edit(m.frame(0, 2), func(s *probe.Sighting) { s.Fingerprint ^= 1 }, "host/w0", "w0/eth0")
		}, []string{`host/w0 +out .* 1 +0 .* ← missing`, `sent by nobody: frame [0-9a-f]{16}`, `of no batch`}},
		{"octets that were added", func(m *mover) {
			m.edit(m.frame(0, 0), func(s *probe.Sighting) { s.Length += 2 }, "host/w0", "w0/eth0")
		}, []string{`host/w0 +out +no tag +119 +0 +1`, `host/w0 +out +no tag +117 +1 +0`}},
		{"a copy of a broadcast missing", func(m *mover) {
			m.drop(m.frame(4, 0), "host/trunk0", "switch/trunk0", "switch/c0", "c0/eth0", "switch/c1", "c1/eth0")
		}, []string{`host/trunk0 +out +802.1Q vid 5 .* 1 +0 .* ← missing`, `c1/eth0 +in .* 1 +0`}},
		{"a broadcast copied for each client, not for each place", func(m *mover) {
			m.add(m.frame(4, 0), "host/trunk0", "host/trunk0", out)
		}, []string{`host/trunk0 +out +802.1Q vid 5 .* 1 +2`}},
		{"a frame that had to be dropped", func(m *mover) {
			m.add(m.frame(7, 1), "c4/eth0", "host/w0", out)
			m.add(m.frame(7, 1), "c4/eth0", "w0/eth0", in)
		}, []string{`had to end at the demux: unknown_client`, `host/w0 +out +no tag +\d+ +0 +1`}},
		{"a reply to another worker's client", func(m *mover) {
			m.add(m.frame(5, 1), "w1/eth0", "host/trunk0", out)
			m.edit(m.frame(5, 1), func(s *probe.Sighting) { s.Tags[0], s.TagCount = probe.Tag{Protocol: probe.Dot1Q, TCI: 5}, 1 }, "host/trunk0")
		}, []string{`had to end at the demux: not_assigned`}},
		{"a frame of nobody", func(m *mover) {
			m.add(m.frame(0, 0), "c0/eth0", "c2/eth0", out)
			m.edit(m.frame(0, 0), func(s *probe.Sighting) { s.Fingerprint = 99 }, "c2/eth0")
		}, []string{`frame 0000000000000063 of no batch`, `c2/eth0 +out +no tag +\d+ +0 +1`, `switch/c2 +in`}},
		{"a frame made by the host", func(m *mover) {
			m.add(m.frame(0, 0), "c0/eth0", "host/w2", out)
			m.add(m.frame(0, 0), "c0/eth0", "w2/eth0", in)
			m.edit(m.frame(0, 0), func(s *probe.Sighting) { s.Fingerprint = 99 }, "host/w2", "w2/eth0")
		}, []string{`host/w2 +out +no tag +\d+ +0 +1`}},
		{"a frame that the demux kept for a minute", func(m *mover) {
			m.late(m.frame(0, 3), time.Minute, "host/w0", "w0/eth0")
		}, []string{`batch "c0/eth0-1" frame 3, `, `it left the demux at host/w0 after 1m0.\d+s, at most 5s are right  ← wrong`}},
		{"a frame that a link kept for a minute", func(m *mover) {
			m.late(m.frame(0, 3), time.Minute, "w0/eth0")
		}, []string{`it came to w0/eth0 from host/w0 after 1m0.\d+s, at most 5s are right`}},
		{"a frame that the switch kept for a minute", func(m *mover) {
			m.late(m.frame(1, 3), time.Minute, "switch/c0", "c0/eth0")
		}, []string{`it left the switch at switch/c0 after 1m0.\d+s`}},
		{"a frame that left before it came", func(m *mover) {
			m.late(m.frame(0, 0), -5*time.Millisecond, "host/w0", "w0/eth0")
		}, []string{`it left the demux at host/w0 4.\d+ms before it could`}},
		{"a frame that came before it was sent", func(m *mover) {
			m.late(m.frame(0, 0), -5*time.Millisecond, "w0/eth0")
		}, []string{`it came to w0/eth0 from host/w0 5.\d+ms before it could|it came to w0/eth0 from host/w0 4.\d+ms before it could`}},
		{"frames in another order", func(m *mover) {
			m.late(m.frame(0, 1), 1500*time.Microsecond, "host/w0", "w0/eth0")
		}, []string{`batch "c0/eth0-1" frame 1, `, `host/w0 saw it \d+.*µs after frame 2 of the same batch  ← wrong`}},
		{"copies in another order", func(m *mover) {
			m.late(m.frame(4, 1), 1500*time.Microsecond, "host/trunk0", "switch/trunk0", "switch/c0", "c0/eth0", "switch/c1", "c1/eth0")
		}, []string{`batch "w0/eth0-5" frame 1, `, `host/trunk0 saw it .* after frame 2 of the same batch`}},
		{"a frame sent at another interface", func(m *mover) {
			m.sent[5].Tap = "w2/eth0"
		}, []string{`w2/eth0 +out .* 4 +0|w2/eth0 +out .* 1 +0`, `w1/eth0 +out .* 0 +1`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			m := small()
			test.tamper(m)
			v := m.lab.Check(m.input())
			g.Expect(v.Err()).To(HaveOccurred())
			g.Expect(v.Wrong).To(BeNumerically(">", 0))
			for _, want := range test.want {
				g.Expect(v.Err().Error()).To(MatchRegexp(want))
			}
			g.Expect(m.lab.Check(m.input()).Err().Error()).To(Equal(v.Err().Error()), "the same input, the same account")
		})
	}
}

func TestWhatIsCountedWrongIsFound(t *testing.T) {
	tests := []struct {
		name   string
		tamper func(in *ledger.Input)
		want   string
	}{
		{"a frame too many from a client", func(in *ledger.Input) { client0(in).Rx.Packets++ },
			`rx +02:00:00:00:00:01 +frames +4 +5 +\+1(?m:$)`},
		{"octets without the tag", func(in *ledger.Input) { client0(in).Rx.Bytes -= 16 },
			`octets +\d+ +\d+ +-16(?m:$)`},
		{"a reply not counted", func(in *ledger.Input) { client0(in).Tx.Packets-- }, `tx +02:00:00:00:00:01 +frames +4 +3 +-1\n`},
		{"a reply's octets", func(in *ledger.Input) { client0(in).Tx.Bytes++ }, `tx +02:00:00:00:00:01 +frames +4 +4 +\+0\n.* \+1(?m:$)`},
		{"a copy too many", func(in *ledger.Input) { in.After.Workers[0].Flooded.Packets++ }, `flooded +w0 +frames +4 +5 +\+1(?m:$)`},
		{"a copy for the wrong worker", func(in *ledger.Input) {
			w := in.After.Workers
			w[0].Flooded, w[1].Flooded = w[1].Flooded, w[0].Flooded
		}, `flooded +w1 +frames +0 +4 +\+4\n`},
		{"a drop for another reason", func(in *ledger.Input) {
			in.After.Drops[4].Packets--
			in.After.Drops[5].Packets++
		}, `dropped +not_assigned +frames +4 +3 +-1\n`},
		{"a reason that must not happen", func(in *ledger.Input) { in.After.Drops[6].Packets++ }, `dropped +tag_failed +frames +0 +1 +\+1`},
		{"a reason that the ledger does not know", func(in *ledger.Input) {
			in.After.Drops = append(in.After.Drops, control.DropCounter{Reason: "no_worker", Tally: control.Tally{Packets: 1, Bytes: 60}})
		}, `dropped +no_worker +frames +0 +1 +\+1`},
		{"a frame passed", func(in *ledger.Input) { in.After.Passed.Packets++ }, `passed +untagged +frames +0 +1 +\+1`},
		{"a client of nobody", func(in *ledger.Input) {
			in.After.Clients = append(in.After.Clients, control.ClientCounters{MAC: probe.MAC{2, 5: 0x99}, Rx: control.Tally{Packets: 1}})
		}, `rx +02:00:00:00:00:99 +frames +0 +1 +\+1`},
		{"clients of nobody, all in the same way", func(in *ledger.Input) {
			for i := range byte(30) {
				in.After.Clients = append(in.After.Clients, control.ClientCounters{MAC: probe.MAC{2, 4: 1, 5: i}, Rx: control.Tally{Packets: 1}})
			}
		}, `rx +02:00:00:00:01:00 and 29 more +frames +0 +1 +\+1\n +octets +0 +0 +\+0$`},
		{"clients of nobody, each in another way", func(in *ledger.Input) {
			for i := range byte(30) {
				in.After.Clients = append(in.After.Clients, control.ClientCounters{MAC: probe.MAC{2, 4: 1, 5: i}, Rx: control.Tally{Packets: uint64(i) + 1}})
			}
		}, `rx +02:00:00:00:01:09 +frames +0 +10 +\+10\n.*\n +and 20 counters more$`},
		{"counters that were there before", func(in *ledger.Input) {
			in.Before.Clients = slices.Clone(in.After.Clients)
		}, `rx +02:00:00:00:00:01 +frames +4 +0 +-4\n`},
		{"a mark on what leaves", func(in *ledger.Input) { tapOf(in, "host/w1").Report.Marked = 2 }, `2 packets with a mark or a priority crossed host/w1`},
		{"a sender that stopped", func(in *ledger.Input) {
			in.Sent[0].Report.Frames, in.Sent[0].Report.Error = 3, "no buffer space"
		}, `batch "c0/eth0-1" at c0/eth0 is 4 frames of \d+ octets; the sender reports 3 of \d+: no buffer space`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			m := small()
			in := m.input()
			test.tamper(in)
			v := m.lab.Check(in)
			g.Expect(v.Wrong).To(BeZero())
			g.Expect(v.Err()).To(MatchError(MatchRegexp(test.want)))
		})
	}
}

func tapOf(in *ledger.Input, name string) *ledger.Tap {
	return &in.Taps[slices.IndexFunc(in.Taps, func(t ledger.Tap) bool { return t.Name == name })]
}

// untagged is a sighting of the frame without its outer tag.
func untagged(s probe.Sighting) probe.Sighting {
	copy(s.Tags[:], s.Tags[1:])
	s.TagCount, s.Length = s.TagCount-1, s.Length-4
	return s
}

func client0(in *ledger.Input) *control.ClientCounters {
	for i := range in.After.Clients {
		if in.After.Clients[i].MAC == client(0) {
			return &in.After.Clients[i]
		}
	}
	panic("no client 0")
}

func TestCountersAreDifferences(t *testing.T) {
	g := NewWithT(t)
	m := small()
	in := m.input()
	in.Before = control.Counters{
		Clients: []control.ClientCounters{{MAC: client(0), Rx: control.Tally{Packets: 100, Bytes: 7000}}},
		Drops:   []control.DropCounter{{Reason: "unlearned", Tally: control.Tally{Packets: 3, Bytes: 180}}},
	}
	client0(in).Rx.Packets += 100
	client0(in).Rx.Bytes += 7000
	in.After.Drops[5].Packets += 3
	in.After.Drops[5].Bytes += 180
	g.Expect(m.lab.Check(in).Err()).NotTo(HaveOccurred())
}
