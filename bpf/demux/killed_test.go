package demux

import (
	"errors"
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/vlandemux/vlandemux/bpf/nettest"
)

// killed is a Demux with one client on w0 for which 100 frames have counted.
func killed(t *testing.T, capacity int) (d *Demux, client MAC) {
	g := NewWithT(t)
	nettest.Enter(t)
	nettest.Veth(t, "w0", "p0")
	d, err := Load(Options{Capacity: capacity, PinPath: nettest.BPFFS(t)})
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { g.Expect(d.Close()).To(Succeed()) })
	client = MAC{2, 0, 0, 0, 0, 1}
	g.Expect(d.Assign(client, "w0")).To(Succeed())
	d.tallies[d.table.find(client.word()).value.Load()&0xffffffff].Rx.Packets = 100
	return d, client
}

// next takes over from one that was killed.
func next(t *testing.T, from *Demux, capacity int) *Demux {
	g := NewWithT(t)
	d, err := Load(Options{Capacity: capacity, PinPath: from.opts.PinPath})
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { g.Expect(d.Close()).To(Succeed()) })
	return d
}

// Killed while it took a client's worker away: whoever is in the slot then begins at 0.
func TestCountersBeginAtZeroAfterAKilledUnassignment(t *testing.T) {
	for name, done := range map[string]func(d *Demux, slot uint32, e *entry){
		"entry hidden":        func(d *Demux, _ uint32, e *entry) { d.table.hide(e) },
		"and its worker gone": func(d *Demux, slot uint32, e *entry) { d.table.hide(e); d.clientWorkers[slot].Store(0) },
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			before, client := killed(t, 1)
			e := before.table.find(client.word())
			done(before, uint32(e.value.Load()), e)

			d := next(t, before, 0)
			g.Expect(d.Assignments()).To(BeEmpty())
			g.Expect(d.Assign(client, "w0")).To(Succeed())
			counters, err := d.Counters()
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(counters.Clients).To(Equal([]ClientCounters{{MAC: client, Worker: "w0"}}))
		})
	}
}

// Killed while it moved a client to its other bucket: for a build with other maps it is one client still.
func TestAClientInBothBucketsIsOneClientInOtherMaps(t *testing.T) {
	for _, capacity := range []int{1, 2} {
		t.Run(fmt.Sprint(capacity), func(t *testing.T) {
			g := NewWithT(t)
			before, client := killed(t, 3)
			move{before.table.find(client.word()), before.table.free(before.table.bucket(client.word(), 1))}.copy()

			d := next(t, before, capacity)
			counters, err := d.Counters()
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(counters.Clients).To(Equal([]ClientCounters{{MAC: client, Worker: "w0", Rx: Tally{Packets: 100}}}))
			g.Expect(d.UnassignAll([]MAC{client})).To(Succeed())
			g.Expect(d.free.count).To(Equal(capacity))
		})
	}
}

// Killed while it gave a client another worker: it has the one that its frames go to.
func TestAClientThatWasBeingReassignedIsKept(t *testing.T) {
	for name, capacity := range map[string]int{"by the same maps": 0, "by others": 5} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			before, client := killed(t, 3)
			before.clientWorkers[uint32(before.table.find(client.word()).value.Load())].Store(0)

			d := next(t, before, capacity)
			g.Expect(d.Assignments()).To(Equal([]Assignment{{MAC: client, Worker: "w0"}}))
			g.Expect(d.clientWorkers[uint32(d.table.find(client.word()).value.Load())].Load()).To(BeEquivalentTo(d.devices["w0"].number))
		})
	}
}

// Killed before the next process knows of its maps: what was dropped meanwhile has counted in the maps before, whoever dropped it.
func TestDropsCountUntilATakeoverIsKilled(t *testing.T) {
	g := NewWithT(t)
	before, _ := killed(t, 3)
	nettest.Veth(t, "trunk0", "sw0")
	port := nettest.Open(t, "sw0")
	_, err := before.AttachTrunk("trunk0", false)
	g.Expect(err).NotTo(HaveOccurred())

	d, err := open(Options{Capacity: 5, EarlyDrop: EarlyDropXDP, PinPath: before.opts.PinPath})
	g.Expect(err).NotTo(HaveOccurred())
	old, err := d.pins.current()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(old.check(&d.opts)).To(Succeed())
	then, err := old.read(d)
	g.Expect(err).NotTo(HaveOccurred())
	set, err := d.pins.next(old)
	g.Expect(err).NotTo(HaveOccurred())
	set.former = old
	_, err = d.copyTo(set, then)
	g.Expect(err).NotTo(HaveOccurred())
	port.Send(nettest.Frame{Destination: [6]byte{2}, Source: [6]byte{2, 9}, Tags: []nettest.Tag{{Protocol: 0x8100, TCI: 5}}, Payload: make([]byte, 64)})
	unknown := func(d *Demux) uint64 {
		counters, err := d.Counters()
		g.Expect(err).NotTo(HaveOccurred())
		return counters.Drops[bpfDropReasonDROP_UNKNOWN_CLIENT].Packets
	}
	g.Eventually(func() uint64 { return unknown(before) }, "10s").Should(BeEquivalentTo(1))
	g.Expect(errors.Join(d.release(), old.close())).To(Succeed())

	g.Expect(unknown(next(t, before, 5))).To(BeEquivalentTo(1))
}
