package demux

import (
	"errors"
	"fmt"
	"slices"
)

// AssignAll gives clients their workers: all of them or, with an error, none. A worker
// that the demux remembers may be absent; any other is attached. Counters of new clients begin
// at 0; an assignment that is there already stays as it is. Errors: [ErrBadMAC], [ErrAssigned], [ErrFull],
// and those of AttachWorker.
func (d *Demux) AssignAll(assignments []Assignment) error {
	return d.change(func() error {
		fresh, err := d.checkNew(assignments)
		if err != nil {
			return err
		}
		workers, made, err := d.workersOf(assignments)
		if err == nil {
			arrivals := make([]arrival, 0, len(fresh))
			for _, a := range fresh {
				places, _ := d.resolve(a.Places) // checked
				arrivals = append(arrivals, arrival{a.MAC.word(), workers[a.Worker], places})
			}
			err = d.insertAll(arrivals)
		}
		for _, a := range made {
			if err != nil && a.clients == 0 {
				err = errors.Join(err, d.forget(a))
			}
		}
		return err
	})
}

// checkNew finds what is wrong before anything is changed, and returns the assignments that are not there yet.
func (d *Demux) checkNew(assignments []Assignment) (fresh []Assignment, err error) {
	if mac, found := Twice(assignments); found {
		return nil, fmt.Errorf("assigning %s: %w, by an earlier line of the same list", mac, ErrAssigned)
	}
	workers := make(map[string]bool)
	for _, a := range assignments {
		if err := a.MAC.Validate(); err != nil {
			return nil, fmt.Errorf("assigning: %w", err)
		}
		if _, err := d.resolve(a.Places); err != nil {
			return nil, fmt.Errorf("assigning %s: %w", a.MAC, err)
		}
		if !workers[a.Worker] && d.devices[a.Worker] == nil {
			if _, err := d.linkByName(a.Worker); err != nil {
				return nil, fmt.Errorf("assigning %s: %w", a.MAC, err)
			}
		}
		workers[a.Worker] = true
		e := d.table.find(a.MAC.word())
		if e == nil {
			fresh = append(fresh, a)
			continue
		}
		is := d.assignment(uint32(e.value.Load()))
		if places, _ := CanonicalPlaces(a.Places); is.Worker != a.Worker || !slices.Equal(is.Places, places) {
			return nil, fmt.Errorf("assigning %s to %s: %w to %s", a.MAC, a.Target(), ErrAssigned, is.Target())
		}
	}
	if len(fresh) > d.free.count {
		return nil, fmt.Errorf("assigning %s: %w", fresh[d.free.count].MAC, full(d.opts.Capacity))
	}
	return fresh, nil
}

// workersOf finds or makes the workers of the assignments, and attaches those made.
// They are returned with an error too.
func (d *Demux) workersOf(assignments []Assignment) (workers map[string]*device, made []*device, err error) {
	workers = make(map[string]*device)
	for _, a := range assignments {
		if workers[a.Worker] != nil {
			continue
		}
		known := d.devices[a.Worker] != nil
		worker, err := d.device(a.Worker, bpfAttachRoleROLE_WORKER)
		if err != nil {
			return nil, made, fmt.Errorf("assigning %s: %w", a.MAC, err)
		}
		workers[a.Worker] = worker
		if known && (worker.ifindex != 0 || !a.Force) {
			continue
		}
		if !known {
			made = append(made, worker)
		}
		link, err := d.linkByName(a.Worker)
		if err == nil {
			worker.forced = worker.forced || a.Force
			err = d.attach(worker, link)
		}
		if err != nil {
			return nil, made, fmt.Errorf("assigning %s: %w", a.MAC, err)
		}
	}
	return workers, made, nil
}

// arrival is a client that is to be made known.
type arrival struct {
	mac    uint64
	worker *device
	places []allowedPlace
}

// insertAll makes the clients known to the programs, each as its last step: all or,
// with an error, none. Those whose buckets are full wait for room together: in each
// round every client that is in the way of one takes its next step.
func (d *Demux) insertAll(arrivals []arrival) error {
	done := make([]uint32, 0, len(arrivals))
	for len(arrivals) > 0 {
		var crowded []arrival
		var moves []move
		moved := make(map[*entry]bool)
		for _, a := range arrivals {
			slot, way, ok, err := d.insert(a)
			if err == nil && !ok && len(way) == 0 && len(moves) == 0 { // else a client in both of its buckets may be in the way
				err = noPlace(d.table.used, d.opts.Capacity)
			}
			if err != nil {
				err = fmt.Errorf("assigning %s to %s: %w", macOf(a.mac), a.worker.name, err)
				return errors.Join(err, d.makeRoom(moves), d.removeAll(done))
			}
			if ok {
				done = append(done, slot)
				continue
			}
			crowded = append(crowded, a)
			if len(way) == 0 {
				continue
			}
			if next := way[0]; !moved[next.from] {
				next.copy()
				moves = append(moves, next)
				moved[next.from], moved[next.to] = true, true
			}
		}
		if err := d.makeRoom(moves); err != nil {
			return errors.Join(err, d.removeAll(done))
		}
		arrivals = crowded
	}
	var expected []uint32
	for _, slot := range done {
		if d.expect(slot) {
			expected = append(expected, slot)
		}
	}
	return d.recount(expected)
}

// makeRoom ends moves that have been copied.
func (d *Demux) makeRoom(moves []move) error {
	if len(moves) == 0 {
		return nil
	}
	if err := d.wait(); err != nil {
		return err
	}
	for _, m := range moves {
		m.hide()
	}
	if err := d.wait(); err != nil {
		return err
	}
	for _, m := range moves {
		m.from.release()
	}
	return nil
}

// insert takes a slot where the programs look for it, if one is free there. Where there is no room in the
// table it returns the moves that make some.
func (d *Demux) insert(a arrival) (slot uint32, moves []move, ok bool, err error) {
	slot = d.free.near(d.table.home(a.mac, d.opts.Capacity))
	var base bpfClientTally
	if d.slots[slot].Released != 0 { // else it has counted nothing
		base = readTallies(d.tallies, d.opts.Capacity, []uint32{slot})[0]
	}
	d.slots[slot].Base = base
	d.locations[slot].Store(0)
	d.clientWorkers[slot].Store(uint64(a.worker.number))
	d.placeRules[slot].announced.Store(0)
	if err := d.allow(map[uint32][]allowedPlace{slot: a.places}); err != nil {
		return 0, nil, false, err
	}
	if err := d.restrict(slot, a.places); err != nil {
		return 0, nil, false, err
	}
	if moves, ok = d.table.insert(a.mac, clientValue(slot, a.worker)); !ok {
		return 0, moves, false, d.restrict(slot, nil)
	}
	d.free.remove(slot)
	d.clients[slot].mac = a.mac
	d.join(slot, a.worker)
	return slot, nil, true, nil
}

// ReassignAll gives clients other workers, each between two frames: all of them or, with an
// error, none. What is known about their locations and their counters stay, but for a location where
// the client may not be any more. A group frame which the old or the new worker sends meanwhile may miss a client.
// When it returns, no program handles a frame for a former worker any more. Errors: [ErrBadMAC],
// [ErrNotAssigned], and those of AttachWorker.
func (d *Demux) ReassignAll(assignments []Assignment) error {
	return d.change(func() error {
		slots, err := d.slotsFor("reassigning", assignments)
		if err != nil {
			return err
		}
		places := make(map[uint32][]allowedPlace, len(slots))
		for i, slot := range slots {
			if places[slot], err = d.resolve(assignments[i].Places); err != nil {
				return fmt.Errorf("reassigning %s: %w", assignments[i].MAC, err)
			}
		}
		workers, made, err := d.workersOf(assignments)
		if err == nil {
			err = d.allow(places)
		}
		if err != nil {
			for _, a := range made {
				err = errors.Join(err, d.forget(a))
			}
			return err
		}
		if err := d.restrictAll(places); err != nil {
			return err
		}
		former := make(map[*device]bool)
		var moved []uint32
		for i, slot := range slots {
			if worker := workers[assignments[i].Worker]; d.clients[slot].worker != worker {
				former[d.clients[slot].worker] = true
				moved = append(moved, slot)
				d.clientWorkers[slot].Store(0)
			}
		}
		if len(moved) == 0 {
			return nil
		}
		// At no time does a client get group frames of both workers.
		if err := d.recount(moved); err != nil {
			return err
		}
		for i, slot := range slots {
			worker := workers[assignments[i].Worker]
			if d.clients[slot].worker == worker {
				continue
			}
			d.table.find(d.clients[slot].mac).value.Store(clientValue(slot, worker))
			d.leave(slot)
			d.join(slot, worker)
			d.clientWorkers[slot].Store(uint64(worker.number))
		}
		return errors.Join(d.recount(moved), d.wait(), d.forgetIdle(former))
	})
}

// slotsFor gives the slots of assigned clients.
func (d *Demux) slotsFor(doing string, assignments []Assignment) ([]uint32, error) {
	if mac, found := Twice(assignments); found {
		return nil, fmt.Errorf("%s %s: it is there twice", doing, mac)
	}
	slots := make([]uint32, 0, len(assignments))
	for _, a := range assignments {
		err := a.MAC.Validate()
		e := d.table.find(a.MAC.word())
		if err == nil && e == nil {
			err = ErrNotAssigned
		}
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", doing, a.MAC, err)
		}
		slots = append(slots, uint32(e.value.Load()))
	}
	return slots, nil
}

// UnassignAll takes the clients' workers away, all or, with an error, none; their counters and locations are gone.
// Once it returns no program handles a frame for them any more. A worker
// without clients is detached. Errors: [ErrBadMAC], [ErrNotAssigned].
func (d *Demux) UnassignAll(macs []MAC) error {
	return d.change(func() error {
		assignments := make([]Assignment, 0, len(macs))
		for _, mac := range macs {
			assignments = append(assignments, Assignment{MAC: mac})
		}
		slots, err := d.slotsFor("unassigning", assignments)
		if err != nil {
			return err
		}
		leaving := make(map[*device]int)
		var idle []*device
		for _, slot := range slots {
			worker := d.clients[slot].worker
			if leaving[worker]++; leaving[worker] == worker.clients && !worker.isDefault {
				idle = append(idle, worker)
			}
		}
		return errors.Join(d.removeAll(slots, idle...), d.forgetUnnamed())
	})
}

// forgetIdle detaches the workers that have no client any more.
func (d *Demux) forgetIdle(workers map[*device]bool) error {
	var idle []*device
	for worker := range workers {
		if worker.clients == 0 && !worker.isDefault {
			idle = append(idle, worker)
		}
	}
	return d.forget(idle...)
}

// removeAll frees entries and slots once no program runs that may still use them, and forgets devices that
// have no other client.
func (d *Demux) removeAll(slots []uint32, devices ...*device) error {
	if len(slots) == 0 {
		return nil
	}
	entries := make([]*entry, 0, len(slots))
	for _, slot := range slots {
		e := d.table.find(d.clients[slot].mac)
		d.table.hide(e)
		entries = append(entries, e)
		d.clientWorkers[slot].Store(0)
		d.leave(slot)
		d.clients[slot].mac = 0
	}
	// Whoever found a client before may learn its location still: they count where
	// they count now, and nowhere after the wait.
	waited, err := d.loseFor(devices)
	if !waited {
		err = errors.Join(err, d.wait())
	}
	err = errors.Join(err, d.recount(slots))
	for i, slot := range slots {
		d.releases++
		d.slots[slot] = bpfSlot{Released: d.releases} // first: once its entry is free, nothing else tells that it has counted
		entries[i].release()
		err = errors.Join(err, d.restrict(slot, nil))
		d.free.add(slot)
	}
	for _, a := range devices {
		err = errors.Join(err, d.drop(a))
	}
	return errors.Join(err, d.saveOwner())
}
