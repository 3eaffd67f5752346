package demux

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/bpf/nettest"
)

// Clients of one bucket and of few others: most of them need room made for them.
func TestManyClientsWithoutRoomWaitTogether(t *testing.T) {
	g := NewWithT(t)
	nettest.Enter(t)
	nettest.Veth(t, "w0", "p0")
	const clients = 1500
	d, err := Load(Options{Capacity: 2048})
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { g.Expect(d.Close()).To(Succeed()) }()

	// Those whose first bucket is in the first third: that third is nearly full before the rest is used.
	var all []Assignment
	for n := 0; len(all) < clients; n++ {
		mac := MAC{2, 0, 0, byte(n >> 16), byte(n >> 8), byte(n)}
		third := len(d.table.buckets) / 3
		if d.table.bucket(mac.word(), 0) < third && d.table.bucket(mac.word(), 1) < third*3/2 {
			all = append(all, Assignment{MAC: mac, Worker: "w0"})
		}
	}
	g.Expect(d.AssignAll(all)).To(Succeed())
	for _, a := range all {
		e := d.table.find(a.MAC.word())
		g.Expect(e).NotTo(BeNil(), a.MAC.String())
		g.Expect(d.clients[uint32(e.value.Load())].mac).To(Equal(a.MAC.word()))
	}
	used := 0
	for e := range d.table.all {
		if e.key.Load() != 0 {
			used++
		}
	}
	g.Expect(used).To(Equal(clients), "an entry was left behind by a move")
	g.Expect(d.table.used).To(Equal(clients))
}
