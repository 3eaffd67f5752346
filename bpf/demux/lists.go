package demux

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sync/errgroup"
)

// publishers is how many lists are published at the same time. The kernel ends
// the replacement of a list by waiting for the programs that are running,
// milliseconds of doing nothing which concurrent replacements share.
const publishers = 64

// publishLists replaces the list of clients of each of the workers. When it
// returns, no program uses an old list, nor anything else that was removed
// from the maps before it was called. The programs count on that: see find in ../internal/find.h.
func (d *Demux) publishLists(workers map[uint32]bool) error {
	slots := make(map[uint32][]uint32, len(workers))
	for _, client := range d.clients {
		if workers[client.Worker] {
			slots[client.Worker] = append(slots[client.Worker], client.Slot)
		}
	}
	var group errgroup.Group
	group.SetLimit(publishers)
	for worker := range workers {
		list := slots[worker]
		group.Go(func() error {
			if err := d.publishList(worker, list); err != nil {
				return fmt.Errorf("publishing the clients of worker %d: %w", worker, err)
			}
			return nil
		})
	}
	return group.Wait()
}

func (d *Demux) publishList(worker uint32, slots []uint32) error {
	if len(slots) == 0 {
		err := d.objs.WorkerClients.Delete(worker)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		return err
	}
	slices.Sort(slots)
	spec := d.listSpec.Copy()
	spec.MaxEntries = uint32(len(slots))
	for i, slot := range slots {
		spec.Contents = append(spec.Contents, ebpf.MapKV{Key: uint32(i), Value: slot})
	}
	list, err := ebpf.NewMap(spec)
	if err != nil {
		return fmt.Errorf("making list: %w", err)
	}
	defer list.Close() // the outer map holds it
	return d.objs.WorkerClients.Put(worker, list)
}

// preparePlaces gives a trunk its table of places.
func (d *Demux) preparePlaces(ifindex int) error {
	places, err := ebpf.NewMap(d.placesSpec)
	if err != nil {
		return fmt.Errorf("making the table of places of trunk %d: %w", ifindex, err)
	}
	defer places.Close() // the outer map holds it
	if err := d.objs.TrunkPlaces.Put(uint32(ifindex), places); err != nil {
		return fmt.Errorf("attaching trunk %d: storing its table of places, %d trunks are possible: %w",
			ifindex, d.objs.TrunkPlaces.MaxEntries(), err)
	}
	return nil
}
