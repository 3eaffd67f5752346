package demux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"sync/atomic"

	"github.com/cilium/ebpf"
)

// recountAtOnce is how many slots one run of the program takes: a frame of a page.
const recountAtOnce = 800

// recount makes the clients of the slots count at the places where they should,
// after a change of their workers or locations.
func (d *Demux) recount(slots []uint32) error {
	for len(slots) > 0 {
		n := min(len(slots), recountAtOnce)
		frame := make([]byte, 14, 14+4*n)
		for _, slot := range slots[:n] {
			frame = binary.NativeEndian.AppendUint32(frame, slot)
		}
		if _, err := d.objs.Recount.Run(&ebpf.RunOptions{Data: frame}); err != nil {
			return fmt.Errorf("counting clients at their places: %w", err)
		}
		slots = slots[n:]
	}
	return nil
}

// wait returns when no program runs that ran when it was called. Before anything is
// attached none can.
func (d *Demux) wait() error {
	if !d.ran {
		return nil
	}
	// The kernel ends the replacement of an inner map by waiting for them.
	if err := d.objs.GracePeriod.Put(uint32(0), d.inner); err != nil {
		return fmt.Errorf("waiting for running programs: %w", err)
	}
	return nil
}

// forgetPlaces removes what is counted for a worker on a trunk, once no client
// counts there any more and no program runs that may count one.
func (d *Demux) forgetPlaces(worker, trunk *device) error {
	key := bpfPagesKey{Worker: worker.number, Trunk: trunk.number}
	var pages bpfPages
	err := d.objs.WorkerPages.Lookup(&key, &pages)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	errs := []error{err}
	for i, made := range pages.Made {
		for ; made != 0; made &= made - 1 {
			page := bpfPageKey{Worker: worker.number, Trunk: uint16(trunk.number), Page: uint16(i*64 + bits.TrailingZeros64(made))}
			errs = append(errs, d.objs.PlacePages.Delete(&page))
		}
	}
	if err := errors.Join(append(errs, d.objs.WorkerPages.Delete(&key))...); err != nil {
		return fmt.Errorf("forgetting the places of worker %s on trunk %s: %w", worker.name, trunk.name, err)
	}
	return nil
}

// clearTrunk forgets the locations on a trunk that nothing is learned on any more,
// and no other: a client may be seen elsewhere at this very moment.
func (d *Demux) clearTrunk(ifindex int) error {
	var cleared []uint32
	for slot := range d.locations {
		word := &d.locations[slot]
		if seen := word.Load(); seen != 0 && unpackLocation(seen).Trunk == ifindex && word.CompareAndSwap(seen, 0) {
			cleared = append(cleared, uint32(slot))
		}
	}
	return d.recount(cleared)
}

// word is one that the programs change at any time.
type word = atomic.Uint64
