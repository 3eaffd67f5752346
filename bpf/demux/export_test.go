package demux

import (
	"context"
	"time"

	"github.com/cilium/ebpf"
)

// Assign is AssignAll for one client.
func (d *Demux) Assign(mac MAC, worker string) error {
	return d.AssignAll([]Assignment{{MAC: mac, Worker: worker}})
}

// Reassign is ReassignAll for one client.
func (d *Demux) Reassign(mac MAC, worker string) error {
	return d.ReassignAll([]Assignment{{MAC: mac, Worker: worker}})
}

// LeaseDrops lets the programs tell of drops for so long, as a reader does that is killed then.
func LeaseDrops(d *Demux, lease time.Duration) error { return d.watchDrops(lease) }

// FailWaits has each wait for running programs fail, until end is called.
func FailWaits(d *Demux) (end func()) {
	inner := d.inner
	d.inner = d.objs.Owners // no map for that place
	return func() { d.inner = inner }
}

// DropsTold returns of how many MACs and reasons the programs have noted when they told of them, and the frames
// they have not told of.
func DropsTold(d *Demux) (noted int, untold uint64, err error) {
	var (
		key  uint64
		rate struct{ Due, Packets uint64 }
	)
	entries := d.objs.DropRates.Iterate()
	for entries.Next(&key, &rate) {
		noted++
		untold += rate.Packets
	}
	return noted, untold, entries.Err()
}

// Ager returns a function that looks at all locations as ForgetUnused does, once.
func Ager(d *Demux) func(age time.Duration) error {
	aging := newAging(d)
	return func(age time.Duration) error { return aging.look(context.Background(), age) }
}

// ForgetAt has the programs forget the client's location if it is that one, unused.
func ForgetAt(d *Demux, client MAC, at Location) error {
	word := uint64(at.Trunk)<<32 | uint64(at.Protocol)<<16 | uint64(at.TCI) | locationUnused
	slot := uint32(d.table.find(client.word()).value.Load())
	return runWith(d.objs.Forget, []bpfForgotten{{Location: word, Mac: client.word(), Slot: uint64(slot)}})
}

// Mapped is what the values of an array map are made of, in memory.
func Mapped[T any](m *ebpf.Map) (parts []T, err error) {
	err = mapMemory(&parts, m)
	return parts, err
}

// Reasons that tests expect.
const (
	DropUntagged      = DropReason(bpfDropReasonDROP_UNTAGGED)
	DropUnknownClient = DropReason(bpfDropReasonDROP_UNKNOWN_CLIENT)
	DropNotAssigned   = DropReason(bpfDropReasonDROP_NOT_ASSIGNED)
	DropUnlearned     = DropReason(bpfDropReasonDROP_UNLEARNED)
)

// Unassign takes one client's worker away.
func (d *Demux) Unassign(mac MAC) error { return d.UnassignAll([]MAC{mac}) }
