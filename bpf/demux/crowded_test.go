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

// smallTable has one worker, w0. The function returns a new client of it, whose MAC has these buckets.
func smallTable(t *testing.T) (d *Demux, client func(first, second int) Assignment) {
	g := NewWithT(t)
	nettest.Enter(t)
	nettest.Veth(t, "w0", "p0")
	d, err := Load(Options{Capacity: 128})
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { g.Expect(d.Close()).To(Succeed()) })

	next := uint32(0)
	return d, func(first, second int) Assignment {
		for ; ; next++ {
			mac := MAC{2, 0, byte(next >> 24), byte(next >> 16), byte(next >> 8), byte(next)}
			if d.table.bucket(mac.word(), 0) == first && d.table.bucket(mac.word(), 1) == second {
				next++
				return Assignment{MAC: mac, Worker: "w0"}
			}
		}
	}
}

// Two clients need the same entry, and one of them can have another: both get room, however the first one was to get its own.
func TestAClientWaitsForRoomThatAnotherOneHolds(t *testing.T) {
	g := NewWithT(t)
	d, client := smallTable(t)
	// Buckets 0 and 1 are full, and 2 and 3 have room for one more. A client of bucket 0 can go to 2, one of bucket 1 to 3.
	all := []Assignment{client(0, 2), client(1, 3)}
	for bucket := range 4 {
		all = append(all, client(bucket, bucket), client(bucket, bucket), client(bucket, bucket))
	}
	all = append(all, client(0, 1), client(0, 0))
	g.Expect(d.AssignAll(all)).To(Succeed())
	for _, a := range all {
		g.Expect(d.table.find(a.MAC.word())).NotTo(BeNil(), a.MAC.String())
	}
}

// Both buckets of five MACs are the same one: that is told otherwise than a table whose capacity is used.
func TestMACsThatCannotBePlacedAreToldApartFromAFullTable(t *testing.T) {
	g := NewWithT(t)
	d, client := smallTable(t)
	all := []Assignment{client(0, 0), client(0, 0), client(0, 0), client(0, 0), client(0, 0)}
	err := d.AssignAll(all)
	g.Expect(err).To(MatchError(ErrFull))
	g.Expect(err).To(MatchError(ContainSubstring("assigning %s to w0: the table of clients is full where this MAC belongs, though only 4 of 128 assignments are in use", all[4].MAC)))
	g.Expect(d.table.used).To(BeZero())
	g.Expect(d.AssignAll(all[:4])).To(Succeed())
}
