package demux

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/vlandemux/vlandemux/bpf/nettest"
)

// An unused location is forgotten when the age is over: not before, and not later.
func TestALocationIsKeptForTheAge(t *testing.T) {
	const age = time.Hour
	g := NewWithT(t)
	nettest.Enter(t)
	d, err := Load(Options{Capacity: 1})
	g.Expect(err).NotTo(HaveOccurred())
	defer d.Close()
	d.clients[0].mac = 2
	d.locations[0].Store(7<<32 | 0x8100<<16 | 11)
	aging := newAging(d)
	for later, kept := range []bool{true, true, true, true, false} {
		g.Expect(aging.look(t.Context(), age)).To(Succeed())
		g.Expect(d.locations[0].Load() != 0).To(Equal(kept), "%d quarters of the age after it was marked", later)
		aging.begin = aging.begin.Add(-age / 4)
	}
}
