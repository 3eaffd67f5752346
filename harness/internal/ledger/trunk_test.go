package ledger_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
	"github.com/vlandemux/vlandemux/harness/internal/ledger"
)

// A worker has clients on both trunks, one of which goes down and comes up among frames for one of them and for all.
func TestFramesForATrunkThatIsDown(t *testing.T) {
	const count, gap = 400, 10_000 // frames, ns
	partly := 0
	for seed := range uint64(10) {
		g := NewWithT(t)
		lab := rack()
		lab.Assignments[client(3)] = "w0"
		const down, up = epoch + count*gap/3, epoch + 2*count*gap/3
		lab.TrunkChanges = []ledger.TrunkChange{{Trunk: 1, Start: down, End: down + 300_000}, {Trunk: 1, Up: true, Start: up, End: up + 300_000}}
		m := &mover{sim: newSim(seed, lab)}
		m.batch("c0/eth0", epoch, 1, 1, client(0), worker(0))
		m.batch("c3/eth0", epoch, 1, 1, client(3), worker(0))
		m.batch("w0/eth0", epoch+500_000, gap, count, worker(0), client(3))
		m.batch("w0/eth0", epoch+500_000, gap, count, worker(0), broadcast())
		m.run()
		in := m.input()
		g.Expect(m.lab.Check(in).Err()).NotTo(HaveOccurred(), "seed %d", seed)

		for i, d := range in.After.Drops { // one copy is not counted
			if d.Reason == "no_trunk" {
				partly += int(d.Packets)
				in.After.Drops[i].Tally = control.Tally{Packets: d.Packets - 1, Bytes: d.Bytes - 64}
			}
		}
		g.Expect(m.lab.Check(in).Counters).NotTo(BeEmpty(), "seed %d", seed)
	}
	NewWithT(t).Expect(partly).To(BeNumerically(">", 10*count/2), "frames and copies that were dropped")
}
