package ledger_test

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
	"github.com/vlandemux/vlandemux/harness/internal/ledger"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// journal writes sightings by hand, with times in microseconds.
type journal struct {
	*mover
}

const us = int64(1000)

// moved is a lab in which c2, alone on its VLANs, is taken from VLAN 7 to VLAN 8
// between 1000 and 1100 µs.
func moved() *journal {
	lab := rack()
	lab.Moves = []ledger.Move{{Client: "c2", To: on(0, probe.Dot1Q, 8), Start: epoch + 1000*us, End: epoch + 1100*us}}
	return &journal{&mover{sim: newSim(1, lab)}}
}

func octets(from, to probe.MAC, number byte) []byte {
	data := make([]byte, 60)
	copy(data, to[:])
	copy(data[6:], from[:])
	data[12], data[13], data[59] = 0x88, 0xb5, number
	return data
}

func tagged(data []byte, vid byte) []byte { return pushTag(data, []byte{0x81, 0, 0, vid}) }

// up takes a frame of c2 to w1. It leaves the client at t, and each tap behind sees it
// 10 µs after the one before.
func (j *journal) up(t int64, number, vid byte) {
	data := octets(client(2), worker(1), number)
	j.upTo("host/trunk0", t, number, vid)
	j.record("host/w1", probe.Out, data, epoch+(t+40)*us)
	j.record("w1/eth0", probe.In, data, epoch+(t+50)*us)
	j.count("rx "+client(2).String(), 64)
}

// upTo ends at a tap.
func (j *journal) upTo(last string, t int64, number, vid byte) {
	data := octets(client(2), worker(1), number)
	for i, hop := range []struct {
		tap  string
		d    probe.Direction
		data []byte
	}{
		{"c2/eth0", probe.Out, data}, {"switch/c2", probe.In, data},
		{"switch/trunk0", probe.Out, tagged(data, vid)}, {"host/trunk0", probe.In, tagged(data, vid)},
	} {
		j.record(hop.tap, hop.d, hop.data, epoch+(t+int64(i)*10)*us)
		if hop.tap == last {
			return
		}
	}
}

// down takes a reply of w1 to c2's switch port, which it reaches at t+40; arrives says
// whether it gets further.
func (j *journal) down(t int64, number, vid byte, arrives bool) {
	data := octets(worker(1), client(2), number)
	j.record("w1/eth0", probe.Out, data, epoch+t*us)
	j.record("host/w1", probe.In, data, epoch+(t+10)*us)
	j.record("host/trunk0", probe.Out, tagged(data, vid), epoch+(t+20)*us)
	j.record("switch/trunk0", probe.In, tagged(data, vid), epoch+(t+30)*us)
	if arrives {
		j.record("switch/c2", probe.Out, data, epoch+(t+40)*us)
		j.record("c2/eth0", probe.In, data, epoch+(t+50)*us)
	}
	j.count("tx "+client(2).String(), 64)
}

// verdict sorts each tap by time, so that a test can write in any order, and checks.
func (j *journal) verdict() *ledger.Verdict {
	j.sort()
	return j.check()
}

func (j *journal) sort() {
	for _, seen := range j.seen {
		for i := range seen {
			for k := i; k > 0 && seen[k-1].Time > seen[k].Time; k-- {
				seen[k-1], seen[k] = seen[k], seen[k-1]
			}
		}
	}
}

func (j *journal) check() *ledger.Verdict {
	in := j.input()
	in.Sockets = []string{"c2", "w1"}
	in.Assignments, in.Events = nil, nil // written by hand are frames alone
	return j.lab.Check(in)
}

func TestMoves(t *testing.T) {
	lost := `switch/c2 +out +no tag .* 1 +0 +- +← missing`
	late := `host/trunk0 +out +802.1Q vid 7 .* 0 +1 .* ← too many`
	tests := []struct {
		name  string
		write func(j *journal)
		costs []string
		wrong string
	}{
		{"before and after", func(j *journal) {
			j.up(0, 1, 7)
			j.down(500, 1, 7, true)
			j.up(2000, 2, 8)
			j.down(2500, 2, 8, true)
		}, nil, ""},
		{"a reply before the first frame from the new VLAN is lost on the old one", func(j *journal) {
			j.up(0, 1, 7)
			j.down(1500, 1, 7, false)
			j.up(2000, 2, 8)
		}, []string{"it came with 802.1Q vid 7, 430µs after c2 had moved from 802.1Q 7 on trunk0 to 802.1Q 8 on trunk0"}, ""},
		{"a reply lost during the move", func(j *journal) {
			j.up(0, 1, 7)
			j.down(1000, 1, 7, false)
		}, []string{"it came with 802.1Q vid 7 while c2 was being moved"}, ""},
		{"a reply delivered during the move", func(j *journal) {
			j.up(0, 1, 7)
			j.down(1000, 1, 7, true)
		}, nil, ""},
		{"a frame of the client lost during the move", func(j *journal) {
			j.upTo("switch/c2", 1030, 1, 7)
		}, []string{"it left the client while c2 was being moved"}, ""},
		{"a frame of the client on the new VLAN during the move", func(j *journal) {
			j.up(1030, 1, 8)
		}, nil, ""},
		{"a reply that met the first frame from the new VLAN, on the old one", func(j *journal) {
			j.up(0, 1, 7)
			j.up(2000, 2, 8) // host/trunk0 in at 2030, host/w1 out at 2040
			j.down(2025, 1, 7, false)
		}, []string{"it came with 802.1Q vid 7"}, ""},
		{"a reply that met the first frame from the new VLAN, on the new one", func(j *journal) {
			j.up(0, 1, 7)
			j.up(2000, 2, 8)
			j.down(2025, 1, 8, true)
		}, nil, ""},
		{"a reply on the old VLAN after the first frame from the new one", func(j *journal) {
			j.up(0, 1, 7)
			j.up(2000, 2, 8)
			j.down(2031, 1, 7, false) // host/w1 in at 2041
		}, nil, late},
		{"a reply on the new VLAN before anything came from there", func(j *journal) {
			j.up(0, 1, 7)
			j.down(1500, 1, 8, true)
			j.up(2000, 2, 8)
		}, nil, `host/trunk0 +out +802.1Q vid 8 .* 0 +1 .* ← too many`},
		{"a reply lost before the move", func(j *journal) {
			j.up(-90_000, 1, 7)
			j.down(-50_000, 1, 7, false)
		}, nil, lost},
		{"a reply lost on the new VLAN", func(j *journal) {
			j.up(2000, 1, 8)
			j.down(2500, 1, 8, false)
		}, nil, lost},
		{"a frame of the client lost after the move", func(j *journal) {
			j.upTo("switch/c2", 1200, 1, 8)
		}, nil, `switch/trunk0 +out +802.1Q vid 8 .* 1 +0 +- +← missing`},
		{"a frame of the client on the old VLAN after the move", func(j *journal) {
			j.up(1200, 1, 7)
		}, nil, `switch/trunk0 +out +802.1Q vid 7 .* 0 +1 .* ← too many`},
		{"a reply that reaches the client on a VLAN it has left", func(j *journal) {
			j.up(0, 1, 7)
			j.down(1500, 1, 7, true)
		}, nil, `switch/c2 +out +no tag .* 0 +1 .* ← too many`},
		{"a frame lost in the demux during the move", func(j *journal) {
			j.upTo("host/trunk0", 1030, 1, 7)
			j.count("rx "+client(2).String(), 64)
		}, nil, `host/w1 +out +no tag .* 1 +0 +- +← missing`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			j := moved()
			test.write(j)
			v := j.verdict()
			if test.wrong == "" {
				g.Expect(v.Err()).NotTo(HaveOccurred())
			} else {
				g.Expect(v.Err()).To(MatchError(MatchRegexp(test.wrong)))
			}
			g.Expect(v.Costs).To(HaveLen(len(test.costs)))
			for i, want := range test.costs {
				g.Expect(v.Costs[i].Client).To(Equal("c2"))
				g.Expect(v.Costs[i].String()).To(ContainSubstring(want))
				g.Expect(v.String()).To(ContainSubstring(want))
			}
		})
	}
}

func TestStampsCountAndNotTheOrderWithinATap(t *testing.T) {
	for _, behind := range []bool{true, false} {
		g := NewWithT(t)
		j := moved()
		j.up(0, 1, 7)
		j.up(2000, 2, 8)          // host/w1 out at 2040
		j.down(2031, 1, 7, false) // host/w1 in at 2041
		j.sort()
		seen := j.seen["host/w1"]
		seen[len(seen)-1].Time = epoch + 2039*us // a processor was interrupted before it stamped, or after
		if !behind {
			seen[len(seen)-1], seen[len(seen)-2] = seen[len(seen)-2], seen[len(seen)-1]
		}
		g.Expect(j.check().Err()).NotTo(HaveOccurred())
		g.Expect(j.check().Costs).To(HaveLen(1))
	}
}

// With c4 in the VLAN too, what is for c2 goes to c4 once c2 has left. Until then it may
// be lost at c2's port.
func TestAFrameCanBeLostAtAPortThatIsBeingMoved(t *testing.T) {
	for _, test := range []struct {
		sent  int64
		wrong string
	}{{1000, ""}, {1500, `switch/c4 +out +no tag .* 1 +0 +- +← missing`}} {
		g := NewWithT(t)
		j := moved()
		j.lab.Clients[4].Place = j.lab.Clients[2].Place
		j.up(0, 1, 7)
		flooded := octets(client(2), worker(1), 1)
		j.record("switch/c4", probe.Out, flooded, epoch+20*us)
		j.record("c4/eth0", probe.In, flooded, epoch+30*us)
		j.down(test.sent, 1, 7, false)
		v := j.verdict()
		if test.wrong != "" {
			g.Expect(v.Err()).To(MatchError(MatchRegexp(test.wrong)))
			continue
		}
		g.Expect(v.Err()).NotTo(HaveOccurred())
		g.Expect(v.Costs).To(HaveLen(1))
	}
}

func TestALossOfAnotherClientIsNoCostOfTheMove(t *testing.T) {
	g := NewWithT(t)
	j := moved()
	j.batch("c0/eth0", epoch+1000*us, 10*us, 10, client(0), worker(0))
	j.run()
	j.drop(j.frame(0, 5), "switch/trunk0", "host/trunk0", "host/w0", "w0/eth0")
	v := j.verdict()
	g.Expect(v.Err()).To(MatchError(MatchRegexp(`switch/trunk0 +out +802.1Q vid 5 .* 1 +0 +- +← missing`)))
	g.Expect(v.Costs).To(BeEmpty())
}

func TestAssignmentsThatChange(t *testing.T) {
	g := NewWithT(t)
	j := moved()
	j.lab.Moves = nil
	j.lab.Changes = []ledger.Change{
		{MAC: client(2), Worker: "", Start: epoch + 1000*us, End: epoch + 1100*us},
		{MAC: client(2), Worker: "w1", Start: epoch + 3000*us, End: epoch + 3100*us},
	}
	j.up(0, 1, 7)
	j.upTo("host/trunk0", 2000, 2, 7)
	j.count("dropped unknown_client", 64)
	j.counted["rx "+client(2).String()] = control.Tally{} // what was counted went with the assignment
	j.up(4000, 3, 7)
	g.Expect(j.verdict().Err()).NotTo(HaveOccurred())

	j.upTo("host/trunk0", 6000, 4, 7)
	j.count("dropped unknown_client", 64)
	g.Expect(j.verdict().Err()).To(MatchError(MatchRegexp(`host/w1 +out +no tag .* 1 +0 +- +← missing`)))
}

func TestADropThatCanBeOneOrTheOther(t *testing.T) {
	tests := []struct {
		reasons []string
		right   bool
	}{
		{[]string{"not_assigned"}, true},
		{[]string{"unlearned"}, true},
		{[]string{"unknown_client"}, false},
		{[]string{}, false},
		{[]string{"not_assigned", "unlearned"}, false},
	}
	for _, test := range tests {
		t.Run(strings.Join(test.reasons, " and "), func(t *testing.T) {
			g := NewWithT(t)
			j := moved()
			j.lab.Moves = nil
			j.lab.Assignments = nil
			j.lab.Changes = []ledger.Change{{MAC: client(2), Worker: "w1", Start: epoch + 1000*us, End: epoch + 1100*us}}
			data := octets(worker(1), client(2), 1)
			j.record("w1/eth0", probe.Out, data, epoch+1030*us)
			j.record("host/w1", probe.In, data, epoch+1040*us)
			for _, reason := range test.reasons {
				j.count("dropped "+reason, 60)
			}
			j.worker = map[probe.MAC]string{client(2): "w1"}
			if err := j.verdict().Err(); test.right {
				g.Expect(err).NotTo(HaveOccurred())
			} else {
				g.Expect(err).To(HaveOccurred())
			}
		})
	}
}

func TestIdenticalRepliesCanLeaveOnBothVLANs(t *testing.T) {
	g := NewWithT(t)
	j := moved()
	j.up(0, 1, 7)
	j.up(2000, 2, 8)
	j.down(2025, 1, 7, false)
	j.down(2026, 1, 8, true)
	g.Expect(j.verdict().Err()).NotTo(HaveOccurred())
}

func TestASwitchForgetsAPortThatLeft(t *testing.T) {
	for _, flooded := range []bool{true, false} {
		g := NewWithT(t)
		j := moved()
		j.lab.Moves = []ledger.Move{
			{Client: "c1", To: on(0, probe.Dot1Q, 6), Start: epoch + 50_000*us, End: epoch + 50_100*us},
			{Client: "c1", To: on(0, probe.Dot1Q, 5), Start: epoch + 60_000*us, End: epoch + 60_100*us},
		}
		j.batch("c1/eth0", epoch, 1000, 1, client(1), worker(0))
		j.batch("w0/eth0", epoch+90_000*us, 1000, 1, worker(0), client(1))
		j.at(epoch+55_000*us, func() { // and comes back without a word
			j.leavePlace("c1", false)
			j.port["c1"] = placeName(on(0, probe.Dot1Q, 5))
		})
		j.run()
		if !flooded {
			j.drop(j.frame(1, 0), "switch/c0", "c0/eth0")
		}
		err := j.verdict().Err()
		if flooded {
			g.Expect(err).NotTo(HaveOccurred())
		} else {
			g.Expect(err).To(MatchError(MatchRegexp(`switch/c0 +out .* 1 +0 .* ← missing`)))
		}
	}
}
