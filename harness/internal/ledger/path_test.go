package ledger_test

import (
	"encoding/json"
	"fmt"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness/internal/ledger"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
	"github.com/vlandemux/vlandemux/harness/internal/topology"
)

// crossed is how often the paths say that frames crossed taps of a kind in a direction.
func crossed(v *ledger.Verdict, kind string, d probe.Direction) (n int) {
	for _, p := range v.Paths {
		for _, h := range p.Hops {
			if h.Kind == kind && h.Direction == d {
				n += h.Got
			}
		}
	}
	return n
}

func TestPathsHaveEveryFrameOnce(t *testing.T) {
	for _, clients := range []int{2, 22, 23, 100} {
		t.Run(fmt.Sprint(clients), func(t *testing.T) {
			g := NewWithT(t)
			lab := ledger.Setup{Trunks: 1, Workers: []topology.Worker{{Name: "w0", MAC: worker(0)}}, Assignments: map[probe.MAC]string{}}
			m := &mover{}
			for i := range clients {
				c := topology.Client{Name: fmt.Sprintf("c%d", i), MAC: client(i), Place: on(0, probe.Dot1Q, uint16(i+2))}
				lab.Clients, lab.Assignments[c.MAC] = append(lab.Clients, c), "w0"
			}
			m.sim = newSim(7, lab)
			for i, c := range lab.Clients {
				m.batch(c.Name+"/eth0", epoch+int64(i)*5e6, 1e6, 3, c.MAC, worker(0))
			}
			m.batch("c1/eth0", epoch+10e9, 1e6, 2, probe.MAC{2, 9}, worker(0)) // unknown_client
			m.run()
			lost := m.frame(0, 1)
			m.drop(lost, "host/w0", "w0/eth0")
			v := m.lab.Check(m.input())
			frames := 0
			for _, p := range v.Paths {
				frames += p.Frames
			}
			g.Expect(frames).To(Equal(v.Frames))
			g.Expect(crossed(v, "client", probe.Out)).To(Equal(3*clients + 2))
			g.Expect(crossed(v, "host's trunk", probe.In)).To(Equal(3*clients + 2))
			g.Expect(crossed(v, "worker", probe.In)).To(Equal(3*clients - 1))

			wrong := v.Paths[0]
			g.Expect(wrong.Wrong).To(BeTrue(), "wrong ones come first")
			g.Expect(wrong.Frames).To(Equal(1))
			last := wrong.Hops[len(wrong.Hops)-1]
			g.Expect([]any{last.Kind, last.Want, last.Got, last.Taps}).To(Equal([]any{"worker's port", 1, 0, []string{"host/w0"}}))
			for _, p := range v.Paths[1:] {
				g.Expect(p.Wrong).To(BeFalse())
			}
			if clients > 22 { // by kinds: the lost one, those that arrived, and the unknown client's
				g.Expect(v.Paths).To(HaveLen(3))
				g.Expect(v.Paths[1].Hops[0].MoreTaps).To(BeTrue())
				g.Expect(v.Paths[1].Frames).To(Equal(3*clients - 1))
			} else {
				g.Expect(v.Paths).To(HaveLen(clients + 2))
			}
			g.Expect(v.Paths[len(v.Paths)-1].Ends).To(Equal([]string{"demux: unknown_client"}))
		})
	}
}

func TestAVerdictSaysTheSameAfterJSON(t *testing.T) {
	g := NewWithT(t)
	m := small()
	m.drop(m.frame(0, 2), "host/w0", "w0/eth0")
	v := m.lab.Check(m.input())
	data, err := json.Marshal(v)
	g.Expect(err).NotTo(HaveOccurred())
	var again ledger.Verdict
	g.Expect(json.Unmarshal(data, &again)).To(Succeed())
	g.Expect(again.String()).To(Equal(v.String()))
	g.Expect(again.Err()).To(MatchError(v.Err().Error()))
	g.Expect(again.WrongFrames[0].Hops).To(Equal(v.WrongFrames[0].Hops))
}

func TestHeldFramesAreCountedByTheirTime(t *testing.T) {
	g := NewWithT(t)
	limits := ledger.HeldLimits()
	g.Expect(limits[0].String()).To(Equal("1µs"))
	g.Expect(limits[len(limits)-1].String()).To(Equal("10s"))
	m := small()
	v := m.lab.Check(m.input())
	held := v.Held[2] // the demux
	most := 0
	for i, n := range held.Frames {
		if n > 0 {
			most = i
		}
	}
	g.Expect(held.Longest).To(BeNumerically("<", limits[most]))
	g.Expect(held.Longest).To(BeNumerically(">=", limits[most-1]))
}
