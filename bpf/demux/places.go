package demux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"sync/atomic"

	"github.com/cilium/ebpf"
)

// recount makes the clients of the slots count at the places where they should,
// after a change of their workers or locations.
func (d *Demux) recount(slots []uint32) error {
	if err := runWith(d.objs.Recount, slots); err != nil {
		return fmt.Errorf("counting clients at their places: %w", err)
	}
	return nil
}

// runWith runs a program with the values behind an Ethernet header, some to a frame of a page.
func runWith[T any](program *ebpf.Program, values []T) error {
	for some := range slices.Chunk(values, 3200/binary.Size(*new(T))) {
		frame, err := binary.Append(make([]byte, 14), binary.NativeEndian, some)
		if err != nil {
			return err
		}
		if _, err := program.Run(&ebpf.RunOptions{Data: frame}); err != nil {
			return err
		}
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

// word is one that the programs change at any time.
type word = atomic.Uint64
