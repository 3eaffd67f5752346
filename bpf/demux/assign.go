package demux

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
)

// Assignment is one client and its worker.
type Assignment struct {
	MAC      MAC
	Worker   int      // interface index
	Location Location // where the client was last seen; ignored when assigning
}

// Assign gives the client a worker, and attaches the worker if it is not yet.
// Counters of the client begin at 0. Errors: [*BadMACError], [*AssignedError],
// [*FullError], [ErrUnknownInterface], [ErrWrongRole].
func (d *Demux) Assign(mac MAC, worker int) error {
	return d.AssignAll([]Assignment{{MAC: mac, Worker: worker}})
}

// AssignAll is Assign for many clients at once: all of them or, with an error,
// none. Workers that it attached stay attached.
func (d *Demux) AssignAll(assignments []Assignment) error {
	return d.change(func() error {
		if err := d.checkNew(assignments); err != nil {
			return err
		}
		for _, a := range assignments {
			if _, err := d.attach(a.Worker, bpfAttachRoleROLE_WORKER); err != nil {
				return fmt.Errorf("assigning %s: %w", a.MAC, err)
			}
		}
		workers := make(map[uint32]bool)
		for i, a := range assignments {
			if err := d.insert(a); err != nil {
				return errors.Join(err, d.removeAll(assignments[:i]))
			}
			workers[uint32(a.Worker)] = true
		}
		if err := d.publishLists(workers); err != nil {
			return errors.Join(err, d.removeAll(assignments))
		}
		return nil
	})
}

// checkNew finds what is wrong before anything is changed.
func (d *Demux) checkNew(assignments []Assignment) error {
	seen := make(map[MAC]bool)
	for _, a := range assignments {
		if err := a.MAC.Validate(); err != nil {
			return fmt.Errorf("assigning: %w", err)
		}
		if client, ok := d.clients[a.MAC]; ok {
			return fmt.Errorf("assigning %s to interface %d: %w", a.MAC, a.Worker, &AssignedError{Worker: int(client.Worker)})
		}
		if seen[a.MAC] {
			return fmt.Errorf("assigning %s: %w, by an earlier line of the same list", a.MAC, ErrAssigned)
		}
		seen[a.MAC] = true
	}
	if len(assignments) > len(d.free) {
		return fmt.Errorf("assigning %s: %w", assignments[len(d.free)].MAC, &FullError{Capacity: d.opts.Capacity})
	}
	for _, a := range assignments {
		if err := d.checkInterface(a.Worker, bpfAttachRoleROLE_WORKER); err != nil {
			return fmt.Errorf("assigning %s: %w", a.MAC, err)
		}
	}
	return nil
}

// insert takes the slot that has been free for longest, and makes the client
// known to the programs as its last step.
func (d *Demux) insert(a Assignment) error {
	slot := d.free[0]
	var state bpfSlot
	if err := d.objs.Slots.Lookup(slot, &state); err != nil {
		return fmt.Errorf("reading slot of %s: %w", a.MAC, err)
	}
	var err error
	if state.Base, err = d.clientTally(slot); err != nil {
		return err
	}
	if err := d.objs.Slots.Put(slot, &state); err != nil {
		return fmt.Errorf("recording counters before %s: %w", a.MAC, err)
	}
	d.locations.clear(slot)

	client := bpfClient{Slot: slot, Worker: uint32(a.Worker)}
	if err := d.objs.Clients.Update(a.MAC, &client, ebpf.UpdateNoExist); err != nil {
		return fmt.Errorf("assigning %s to interface %d: %w", a.MAC, a.Worker, err)
	}
	d.free = d.free[1:]
	d.clients[a.MAC] = client
	return nil
}

// Reassign gives the client another worker, between two frames. What is known
// about its location and its counters stays. A group frame which the old or the
// new worker sends while it runs may miss the client. Errors: [*BadMACError],
// [ErrNotAssigned], [ErrUnknownInterface], [ErrWrongRole].
func (d *Demux) Reassign(mac MAC, worker int) error {
	return d.change(func() error {
		client, err := d.client(mac)
		if err == nil {
			_, err = d.attach(worker, bpfAttachRoleROLE_WORKER)
		}
		if err == nil && client.Worker != uint32(worker) {
			err = d.handOver(mac, client, uint32(worker))
		}
		if err != nil {
			return fmt.Errorf("reassigning %s to interface %d: %w", mac, worker, err)
		}
		return nil
	})
}

// handOver takes the client from the group frames of the old worker before it
// is the new one's: at no time does it get frames of both.
func (d *Demux) handOver(mac MAC, client bpfClient, worker uint32) error {
	delete(d.clients, mac)
	err := d.publishLists(map[uint32]bool{client.Worker: true})
	next := bpfClient{Slot: client.Slot, Worker: worker}
	if err == nil {
		err = d.objs.Clients.Update(mac, &next, ebpf.UpdateExist)
	}
	if err != nil {
		d.clients[mac] = client
		return errors.Join(err, d.publishLists(map[uint32]bool{client.Worker: true}))
	}
	d.clients[mac] = next
	return d.publishLists(map[uint32]bool{worker: true})
}

// Unassign takes the client's worker away; its counters and location are gone.
// Once it returns no program handles a frame for that client any more. Errors:
// [*BadMACError], [ErrNotAssigned].
func (d *Demux) Unassign(mac MAC) error {
	return d.change(func() error {
		client, err := d.client(mac)
		if err != nil {
			return fmt.Errorf("unassigning %s: %w", mac, err)
		}
		return d.removeAll([]Assignment{{MAC: mac, Worker: int(client.Worker)}})
	})
}

func (d *Demux) client(mac MAC) (bpfClient, error) {
	if err := mac.Validate(); err != nil {
		return bpfClient{}, err
	}
	client, ok := d.clients[mac]
	if !ok {
		return bpfClient{}, ErrNotAssigned
	}
	return client, nil
}

// removeAll frees slots only after publishLists, which waits for the programs
// that may still use them.
func (d *Demux) removeAll(assignments []Assignment) error {
	var (
		errs    []error
		slots   []uint32
		workers = make(map[uint32]bool)
	)
	for _, a := range assignments {
		client, ok := d.clients[a.MAC]
		if !ok {
			continue
		}
		if err := d.objs.Clients.Delete(a.MAC); err != nil {
			errs = append(errs, fmt.Errorf("unassigning %s: %w", a.MAC, err))
			continue
		}
		delete(d.clients, a.MAC)
		slots = append(slots, client.Slot)
		workers[client.Worker] = true
	}
	errs = append(errs, d.publishLists(workers))
	for _, slot := range slots {
		errs = append(errs, d.releaseSlot(slot))
	}
	return errors.Join(append(errs, d.saveOwner())...)
}

func (d *Demux) releaseSlot(slot uint32) error {
	d.free = append(d.free, slot)
	d.releases++
	if err := d.objs.Slots.Put(slot, &bpfSlot{Released: d.releases}); err != nil {
		return fmt.Errorf("freeing slot %d: %w", slot, err)
	}
	return nil
}

// Assignments returns every assignment, by MAC.
func (d *Demux) Assignments() ([]Assignment, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return nil, ErrClosed
	}
	assignments := make([]Assignment, 0, len(d.clients))
	for mac, client := range d.clients {
		assignments = append(assignments, Assignment{
			MAC:      mac,
			Worker:   int(client.Worker),
			Location: d.locations.get(client.Slot),
		})
	}
	slices.SortFunc(assignments, func(a, b Assignment) int { return bytes.Compare(a.MAC[:], b.MAC[:]) })
	return assignments, nil
}
