package demux

import (
	"testing"

	. "github.com/onsi/gomega"
	"github.com/vlandemux/vlandemux/bpf/nettest"
)

// A freed slot rests for as long as possible, also across a restart.
func TestFreedSlotsAreReusedOldestFirst(t *testing.T) {
	g := NewWithT(t)
	nettest.Enter(t)
	nettest.Veth(t, "w", "p")
	opts := Options{Capacity: 4, PinPath: nettest.BPFFS(t)}
	d, err := Load(opts)
	g.Expect(err).NotTo(HaveOccurred())
	client := func(n byte) MAC { return MAC{2, 0, 0, 0, 0, n} }
	for n := range byte(3) {
		g.Expect(d.Assign(client(n), "w")).To(Succeed())
		g.Expect(uint32(d.table.find(client(n).word()).value.Load())).To(BeEquivalentTo(n))
	}
	for _, n := range []byte{1, 0, 2} {
		g.Expect(d.Unassign(client(n))).To(Succeed())
	}
	g.Expect(d.free).To(Equal([]uint32{3, 1, 0, 2}))
	g.Expect(d.Close()).To(Succeed())
	d, err = Load(opts)
	g.Expect(err).NotTo(HaveOccurred())
	defer d.Close()
	g.Expect(d.free).To(Equal([]uint32{3, 1, 0, 2}))
}
