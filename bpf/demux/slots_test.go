package demux

import (
	"testing"

	. "github.com/onsi/gomega"
	"github.com/vlandemux/vlandemux/bpf/nettest"
)

// The programs load what is at home before they know the slot.
func TestSlotsAreNearHome(t *testing.T) {
	g := NewWithT(t)
	free := newSlotSet(200)
	for slot := range uint32(200) {
		free.add(slot)
	}
	for _, want := range []uint32{106, 107, 104, 105, 108, 109, 110, 111, 64, 65} {
		slot := free.near(107)
		g.Expect(slot).To(Equal(want))
		free.remove(slot)
	}
	g.Expect(free.others(0, 200)).To(Equal([]uint32{64, 65, 104, 105, 106, 107, 108, 109, 110, 111}))
	g.Expect(free.others(65, 105)).To(Equal([]uint32{65, 104}))
	free.add(107)
	g.Expect(free.near(106)).To(BeEquivalentTo(107))

	last := newSlotSet(200)
	last.add(3)
	g.Expect(last.near(199)).To(BeEquivalentTo(3), "the next is at the beginning")
}

// Most clients have a slot at home, also when they come back, and a restart leaves it theirs.
func TestASlotAtHomeIsTakenAgain(t *testing.T) {
	g := NewWithT(t)
	nettest.Enter(t)
	nettest.Veth(t, "w", "p")
	opts := Options{Capacity: 1000, PinPath: nettest.BPFFS(t)}
	slots := func(d *Demux) (slots []uint32) {
		for n := range byte(100) {
			slots = append(slots, uint32(d.table.find(MAC{2, 0, 0, 0, 0, n}.word()).value.Load()))
		}
		return slots
	}
	assign := func(d *Demux) {
		for n := range byte(100) {
			g.Expect(d.Assign(MAC{2, 0, 0, 0, 0, n}, "w")).To(Succeed())
		}
	}
	d, err := Load(opts)
	g.Expect(err).NotTo(HaveOccurred())
	assign(d)
	before, atHome := slots(d), 0
	for n, slot := range before {
		if home := d.table.home(MAC{2, 0, 0, 0, 0, byte(n)}.word(), opts.Capacity); home/countedTogether == slot/countedTogether {
			atHome++
		}
	}
	g.Expect(atHome).To(BeNumerically(">", 80), "of 100 clients")
	for n := range byte(100) {
		g.Expect(d.Unassign(MAC{2, 0, 0, 0, 0, n})).To(Succeed())
	}
	g.Expect(d.free.count).To(Equal(opts.Capacity))
	assign(d)
	g.Expect(slots(d)).To(Equal(before))
	g.Expect(d.Close()).To(Succeed())

	d, err = Load(opts)
	g.Expect(err).NotTo(HaveOccurred())
	defer d.Close()
	g.Expect(slots(d)).To(Equal(before))
	g.Expect(d.free.count).To(Equal(opts.Capacity - 100))
}

// Slots are not all read at the same moment.
func TestAClientThatComesBackIsCountedOnce(t *testing.T) {
	g := NewWithT(t)
	nettest.Enter(t)
	nettest.Veth(t, "w", "p")
	d, err := Load(Options{Capacity: 2 * slotsAtOnce})
	g.Expect(err).NotTo(HaveOccurred())
	defer d.Close()
	client := MAC{2}
	for ; d.table.home(client.word(), d.opts.Capacity) >= slotsAtOnce; client[5]++ {
	}
	var c Counters
	g.Expect(d.Assign(client, "w")).To(Succeed())
	g.Expect(d.readSlots(&c, 0, slotsAtOnce)).To(Succeed())
	g.Expect(d.Unassign(client)).To(Succeed())
	for slot := range uint32(slotsAtOnce) { // others have come
		d.free.remove(slot)
	}
	g.Expect(d.Assign(client, "w")).To(Succeed())
	g.Expect(d.readSlots(&c, slotsAtOnce, d.opts.Capacity)).To(Succeed())
	g.Expect(byMAC(c.Clients)).To(HaveLen(1))
}
