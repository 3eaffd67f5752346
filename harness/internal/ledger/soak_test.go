package ledger_test

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness/internal/ledger"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
	"github.com/vlandemux/vlandemux/harness/internal/topology"
)

func client(n int) probe.MAC { return probe.MAC{2, 0, 0, 0, 0, byte(n + 1)} }
func worker(n int) probe.MAC { return probe.MAC{2, 0, 0, 0, 1, byte(n + 1)} }

func broadcast() probe.MAC { return probe.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff} }
func multicast() probe.MAC { return probe.MAC{0x01, 0x00, 0x5e, 0, 0, 5} }

func on(trunk int, protocol, vid uint16) topology.Place {
	return topology.Place{Trunk: trunk, VLAN: probe.VLAN{Protocol: protocol, VID: vid}}
}

// rack has two clients on one VLAN and one worker, one on another VLAN, one on
// another trunk, and one that is nobody's.
func rack() ledger.Setup {
	return ledger.Setup{
		Trunks: 2,
		Clients: []topology.Client{
			{Name: "c0", MAC: client(0), Place: on(0, probe.Dot1Q, 5)},
			{Name: "c1", MAC: client(1), Place: on(0, probe.Dot1Q, 5)},
			{Name: "c2", MAC: client(2), Place: on(0, probe.Dot1Q, 7)},
			{Name: "c3", MAC: client(3), Place: on(1, probe.Dot1AD, 5)},
			{Name: "c4", MAC: client(4), Place: on(0, probe.Dot1Q, 9)},
		},
		Workers: []topology.Worker{
			{Name: "w0", MAC: worker(0)}, {Name: "w1", MAC: worker(1)}, {Name: "w2", MAC: worker(2)}, {Name: "w3", MAC: worker(3)},
		},
		Assignments: map[probe.MAC]string{client(0): "w0", client(1): "w0", client(2): "w1", client(3): "w2"},
	}
}

// mover numbers the batches of a test.
type mover struct {
	*sim
	next uint32
}

func (m *mover) batch(tap string, start, gap int64, count int, from, to probe.MAC, tags ...probe.Tag) {
	m.next++
	m.send(tap, start, gap, probe.Batch{
		Name: fmt.Sprintf("%s-%d", tap, m.next), ID: m.next, Count: count, Source: from, Destination: to, Tags: tags,
		Size: 64 + 4*len(tags), MaxSize: 300,
	})
}

// everything has every kind of traffic at once, and every reason for a drop.
func (m *mover) everything(count int) {
	m.batch("c0/eth0", epoch, 3000, count, client(0), worker(0))
	m.batch("c1/eth0", epoch, 4000, count, client(1), worker(0))
	m.batch("c1/eth0", epoch, 9000, count/2, client(1), client(0))
	m.batch("c2/eth0", epoch, 5000, count, client(2), worker(1), probe.Tag{Protocol: probe.Dot1Q, TCI: 0x6003})
	m.batch("c2/eth0", epoch+7, 50_000, count/10, client(2), broadcast())
	m.batch("c3/eth0", epoch, 7000, count, client(3), multicast())
	m.batch("c4/eth0", epoch, 11_000, count/4, client(4), worker(0))
	m.batch("c4/eth0", epoch, 99_000, count/20, client(4), probe.MAC{1, 0x80, 0xc2, 0, 0, 1})
	m.batch("c4/eth0", epoch, 99_000, count/20, probe.MAC{}, worker(0))
	m.batch("c4/eth0", epoch, 99_000, count/20, probe.MAC{3, 0, 0, 0, 0, 9}, worker(0))
	m.batch("w0/eth0", epoch, 3000, count, worker(0), client(0))
	m.batch("w0/eth0", epoch, 4000, count, worker(0), client(1), probe.Tag{Protocol: probe.Dot1Q, TCI: 3})
	m.batch("w0/eth0", epoch, 9000, count/2, worker(0), broadcast())
	m.batch("w1/eth0", epoch, 5000, count, worker(1), client(2))
	m.batch("w1/eth0", epoch, 8000, count/4, worker(1), client(0))
	m.batch("w1/eth0", epoch, 12_000, count/4, worker(1), multicast())
	m.batch("w2/eth0", epoch, 3000, count, worker(2), client(3))
	m.batch("w3/eth0", epoch, 30_000, count/10, worker(3), broadcast())
	m.batch("switch/trunk0", epoch, 20_000, count/10, client(2), worker(1), probe.Tag{Protocol: probe.Dot1Q, TCI: 0x7007})
	m.batch("switch/trunk0", epoch, 20_000, count/10, client(0), worker(0), probe.Tag{Protocol: probe.Dot1Q, TCI: 0xb005})
	m.batch("switch/trunk0", epoch, 20_000, count/10, client(2), worker(1))
	m.batch("switch/trunk0", epoch, 20_000, count/10, client(2), worker(1), probe.Tag{Protocol: probe.Dot1Q, TCI: 0x0fff})
	m.batch("switch/trunk1", epoch, 20_000, count/10, probe.MAC{}, worker(1), probe.Tag{Protocol: probe.Dot1Q, TCI: 0x0001})
	m.batch("switch/trunk1", epoch, 20_000, count/10, probe.MAC{3, 0, 0, 0, 0, 9}, worker(1), probe.Tag{Protocol: probe.Dot1AD, TCI: 0x0001})
	m.batch("host/trunk0", epoch, 20_000, count/10, worker(3), worker(0), probe.Tag{Protocol: probe.Dot1Q, TCI: 5})
	m.batch("host/trunk0", epoch, 20_000, count/10, worker(3), client(0))
	m.batch("switch/trunk1", epoch, 20_000, count/10, client(3), worker(2),
		probe.Tag{Protocol: probe.Dot1AD, TCI: 5}, probe.Tag{Protocol: probe.Dot1Q, TCI: 1},
		probe.Tag{Protocol: probe.Dot1Q, TCI: 2}, probe.Tag{Protocol: probe.Dot1Q, TCI: 3})
}

// span is how long everything(count) lasts at most.
func span(count int) int64 { return int64(count) * 12_000 }

func TestEverythingIsWhereItHasToBe(t *testing.T) {
	for seed := range uint64(4) {
		g := NewWithT(t)
		m := &mover{sim: newSim(seed, rack())}
		m.everything(300)
		m.run()
		v := m.lab.Check(m.input())
		g.Expect(v.Err()).NotTo(HaveOccurred(), "seed %d", seed)
		g.Expect(v.Costs).To(BeEmpty())
		for _, reason := range []string{"untagged", "invalid_source", "invalid_vlan", "unknown_client", "not_assigned"} {
			g.Expect(v.Demux.Ended).To(HaveKey(Or(Equal(reason))), "no frame tried that")
		}
	}
}

func TestEverythingDuringMovesAndChanges(t *testing.T) {
	var costs, unlearned int
	for seed := range uint64(25) {
		g := NewWithT(t)
		lab := rack()
		lab.PassUntagged = seed%2 == 0
		rng := newSim(seed, lab).rng
		const count = 300
		// Every client is taken to and fro, some of them to VLANs of others.
		for i, at := 0, epoch; i < 80; i++ {
			at += rng.Int64N(span(count) / 60)
			c := rng.IntN(5)
			end := at + 1000 + rng.Int64N(60_000)
			to := on(rng.IntN(2), probe.Dot1Q, uint16(5+rng.IntN(3)))
			lab.Moves = append(lab.Moves, ledger.Move{Client: fmt.Sprintf("c%d", c), To: to, Start: at, End: end})
			at = end
		}
		for i, at := 0, epoch; i < 20; i++ {
			at += rng.Int64N(span(count) / 15)
			end := at + 1000 + rng.Int64N(60_000)
			name := []string{"", "w0", "w1", "w2", "w3"}[rng.IntN(5)]
			lab.Changes = append(lab.Changes, ledger.Change{MAC: client(rng.IntN(5)), Worker: name, Start: at, End: end})
			at = end
		}
		separate(&lab)
		m := &mover{sim: newSim(seed, lab)}
		m.everything(count)
		m.run()
		v := m.lab.Check(m.input())
		g.Expect(v.Err()).NotTo(HaveOccurred(), "seed %d", seed)
		costs += len(v.Costs)
		unlearned += int(v.Demux.Ended["unlearned"])
	}
	g := NewWithT(t)
	g.Expect(costs).To(BeNumerically(">", 100))
	g.Expect(unlearned).To(BeNumerically(">", 100))
}

// separate drops the moves and changes that overlap others of the same client.
func separate(lab *ledger.Setup) {
	ends := map[string]int64{}
	var moves []ledger.Move
	for _, m := range lab.Moves {
		if m.Start > ends[m.Client] {
			moves, ends[m.Client] = append(moves, m), m.End
		}
	}
	last := map[probe.MAC]int64{}
	var changes []ledger.Change
	for _, c := range lab.Changes {
		if c.Start > last[c.MAC] {
			changes, last[c.MAC] = append(changes, c), c.End
		}
	}
	lab.Moves, lab.Changes = moves, changes
}

func TestPingPongUnderLoad(t *testing.T) {
	g := NewWithT(t)
	lab := rack()
	const moves, each = 200, int64(50_000)
	for i := range int64(moves) {
		at := epoch + i*each
		lab.Moves = append(lab.Moves, ledger.Move{Client: "c0", To: on(0, probe.Dot1Q, uint16(6-i%2)), Start: at, End: at + 8000})
	}
	m := &mover{sim: newSim(1, lab)}
	m.batch("c0/eth0", epoch, 2000, 5000, client(0), worker(0))
	m.batch("w0/eth0", epoch, 2000, 5000, worker(0), client(0))
	m.batch("w0/eth0", epoch, 40_000, 250, worker(0), broadcast())
	m.run()
	v := m.lab.Check(m.input())
	g.Expect(v.Err()).NotTo(HaveOccurred())
	g.Expect(v.Costs).NotTo(BeEmpty())
	got := 0
	for _, x := range m.seen["c0/eth0"] {
		if x.Direction == probe.In && x.Destination == client(0) {
			got++
		}
	}
	lost := map[probe.Fingerprint]bool{}
	for _, c := range v.Costs {
		g.Expect(c.Client).To(Equal("c0"))
		lost[c.Fingerprint] = true
	}
	replies := 0
	for _, x := range m.seen["host/trunk0"] {
		if x.Direction == probe.Out && x.Destination == client(0) {
			replies++
			if lost[x.Fingerprint] {
				got++
			}
		}
	}
	g.Expect(got).To(Equal(replies), "each reply arrived or is named")
}
