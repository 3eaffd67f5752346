package demux

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/vlandemux/vlandemux/bpf/internal/tchook"
)

// restore goes on with what the maps hold and takes over what is attached.
func (d *Demux) restore() error {
	if err := d.mapAll(); err != nil {
		return err
	}
	if err := d.objs.Owners.Lookup(uint32(0), &d.base); err != nil {
		return fmt.Errorf("reading the owner of the maps: %w", err)
	}
	d.generation, d.releases = d.base.Generation+1, d.base.Releases
	d.programs = programIDs(&d.base)
	d.ran = true
	records, err := d.restoreDevices()
	if err != nil {
		return err
	}
	if err := d.restoreClients(records); err != nil {
		return err
	}
	if err := d.openEarly(records); err != nil {
		return err
	}
	return d.takeOverHooks(records)
}

func (d *Demux) restoreDevices() (records map[*device]bpfDevice, err error) {
	records = make(map[*device]bpfDevice)
	for key, record := range entries[deviceKey, bpfDevice](d.objs.Devices, "the trunks and workers", &err) {
		a := &device{name: nameOf(key), number: record.Number, role: record.Role, first: noSlot, floodedBase: record.FloodedBase}
		a.setFlags(record.Flags)
		numbers := d.workerNumbers
		if a.role == bpfAttachRoleROLE_TRUNK {
			numbers = d.trunkNumbers
		}
		if int(a.number) >= len(numbers) || numbers[a.number] {
			return nil, d.incompatible(fmt.Errorf("interface %s has number %d of another one or beyond the maps", a.name, a.number))
		}
		numbers[a.number] = true
		d.devices[a.name] = a
		records[a] = record
	}
	return records, err
}

// restoreClients reads the table, and finishes what an earlier process had begun
// when it was killed.
func (d *Demux) restoreClients(records map[*device]bpfDevice) error {
	byNumber, byIndex := make([]*device, len(d.workerNumbers)), make(map[uint32]*device)
	for a, record := range records {
		if a.role == bpfAttachRoleROLE_WORKER {
			byNumber[a.number], byIndex[record.Ifindex] = a, a
		}
	}
	delete(byIndex, 0)
	d.table.used = 0
	all := make([]uint32, 0, len(d.clients))
	for e := range d.table.all {
		value := e.value.Load()
		mac, slot := e.key.Load()&macMask, uint32(value)
		if e.key.Load() != 0 && int(slot) < len(d.slots) {
			d.slots[slot].Released = max(d.slots[slot].Released, 1) // it may be free now, and has counted
		}
		switch {
		case mac == 0:
			e.release()
			continue
		case int(slot) >= len(d.clients):
			return d.incompatible(fmt.Errorf("client %s has slot %d, beyond the capacity", macOf(mac), slot))
		case d.clients[slot].mac == mac: // it was being moved to its other bucket
			e.key.Store(hidden)
			if err := d.wait(); err != nil {
				return err
			}
			e.release()
			continue
		case d.clients[slot].mac != 0:
			return d.incompatible(fmt.Errorf("client %s has slot %d of another client", macOf(mac), slot))
		}
		worker := byIndex[uint32(value>>32)&^bpfWorkerPeer] // for one that was being reassigned
		if number := d.clientWorkers[slot].Load(); number != 0 && number < uint64(len(byNumber)) {
			worker = byNumber[number]
		}
		if worker == nil {
			e.key.Store(hidden)
			if err := d.wait(); err != nil {
				return err
			}
			e.release()
			continue
		}
		d.table.used++
		d.clients[slot].mac = mac
		d.join(slot, worker)
		d.clientWorkers[slot].Store(uint64(worker.number))
		all = append(all, slot)
	}
	for _, a := range byNumber {
		if a == nil {
			continue
		}
		d.states[a.number].Clients = uint64(a.clients)
	}
	d.freeSlots()
	d.listFormerClients()
	return errors.Join(d.restoreAllowed(), d.recount(all))
}

// takeOverHooks puts our programs in the place of the earlier process's, in the mode
// that the options ask for. Only when all that are there are known can names be
// followed: two may have swapped theirs. Who is not there any more waits for its name.
func (d *Demux) takeOverHooks(records map[*device]bpfDevice) error {
	d.formerNames = maps.Clone(d.devices)
	if err := d.knowPrograms(); err != nil {
		return err
	}
	if err := d.saveOwner(); err != nil {
		return err
	}
	// A group frame of a worker with our program finds what an earlier program on a trunk has learned, and not the other way round:
	// workers are first.
	all := slices.SortedFunc(maps.Keys(records), func(a, b *device) int {
		return cmp.Or(cmp.Compare(b.role, a.role), cmp.Compare(a.name, b.name))
	})
	var there []Link
	var gone []*device
	for _, a := range all {
		record := records[a]
		link, err := d.takeOverHook(a, record)
		switch {
		case errors.Is(err, tchook.ErrGone):
			gone = append(gone, a)
			if record.Ifindex != 0 {
				d.missed = append(d.missed, Change{Name: a.name, What: "gone"})
			}
		case err != nil:
			return err
		default:
			there = append(there, *link)
		}
	}
	d.publishLimits()
	errs := []error{d.sweepLinks()}
	d.programs = d.programs[:len(d.ownPrograms())] // no other is on any interface now
	errs = append(errs, d.saveOwner())
	d.renameAll(there, func(a *device, err error, format string, values ...any) {
		d.missed = append(d.missed, Change{Name: a.name, What: fmt.Sprintf(format, values...), Err: err})
		if !errors.Is(err, ErrWrongRole) {
			errs = append(errs, err)
		}
	})
	for _, a := range gone {
		if d.devices[a.name] == a && !a.namedOnly { // no other has its name and its clients now
			errs = append(errs, d.comeBack(a))
		}
	}
	return errors.Join(errs...)
}

// sweepLinks takes off the links of ours that no device has: a process was killed between
// one step of attaching and the next.
func (d *Demux) sweepLinks() error {
	if d.pins == nil {
		return nil
	}
	_, err := d.pins.takeOffLinks(d.isOurs, func(ifindex int, early bool) bool {
		a := d.byIndex[ifindex]
		if a == nil || early {
			return a != nil && a.early != nil
		}
		_, tcx := a.hook.(*tchook.Link)
		return tcx
	})
	return err
}

// takeOffLinks takes off the links of our programs that are pinned, but for those of interfaces to keep. It reports
// whether there were any.
func (p *pins) takeOffLinks(isOurs func(ebpf.ProgramID) bool, keep func(ifindex int, early bool) bool) (found bool, err error) {
	numbers, err := p.links()
	errs := []error{err}
	for _, number := range numbers {
		ifindex, kind := number&^earlyNumber, tchook.TCX()
		if number != ifindex {
			kind = tchook.NativeXDP()
		}
		if keep(ifindex, number != ifindex) {
			continue
		}
		ours, err := tchook.PinIsOurs(p.link(number), isOurs)
		errs = append(errs, err)
		if !ours {
			continue
		}
		found = true
		left, err := kind.Open(p.link(number), ifindex, nil)
		switch {
		case errors.Is(err, tchook.ErrGone): // and so is the pin
		case err != nil:
			errs = append(errs, err)
		default:
			errs = append(errs, left.Detach())
		}
	}
	return found, errors.Join(errs...)
}

// knowPrograms makes our programs ours, beside those of the processes before: each of
// these may be on an interface still, if one was killed while it took over.
func (d *Demux) knowPrograms() error {
	own := make([]uint32, 0, len(d.programs)+3)
	for _, program := range d.ownPrograms() {
		info, err := program.Info()
		if err != nil {
			return fmt.Errorf("reading the ID of a program: %w", err)
		}
		id, _ := info.ID()
		own = append(own, uint32(id))
	}
	d.programs = append(own, d.programs...)
	return nil
}

// ownPrograms are those of this process that can be on an interface.
func (d *Demux) ownPrograms() []*ebpf.Program {
	if d.opts.EarlyDrop == EarlyDropXDP {
		return []*ebpf.Program{d.objs.Phys2virt, d.objs.Virt2phys, d.objs.EarlyDrop}
	}
	return []*ebpf.Program{d.objs.Phys2virt, d.objs.Virt2phys}
}

// programIDs are those of the process that wrote the record and of those before it.
func programIDs(owner *bpfOwner) []uint32 {
	all := slices.Concat(owner.Programs[:], owner.OlderPrograms[:])
	return slices.DeleteFunc(all, func(id uint32) bool { return id == 0 })
}

// takeOverHook gives tchook.ErrGone, and the device is one that is not there, if the
// interface has gone.
func (d *Demux) takeOverHook(a *device, record bpfDevice) (*Link, error) {
	gone := func() error {
		a.ifindex = int(record.Ifindex)
		if err := d.lose(a); err != nil {
			return err
		}
		return tchook.ErrGone
	}
	hook, hookErr := d.hookOpen(a, record)
	if hookErr == nil {
		a.hook = hook
	} else if !errors.Is(hookErr, tchook.ErrGone) {
		return nil, hookErr
	}
	if record.Ifindex == 0 {
		return nil, gone()
	}
	found, err := d.net.LinkByIndex(int(record.Ifindex))
	if missing(err) {
		return nil, gone()
	}
	if err != nil {
		return nil, fmt.Errorf("looking up interface %s: %w", a.name, err)
	}
	link := NewLink(found)
	if hookErr != nil {
		// Somebody took the program off while nobody looked: where the interface is the
		// one it was, its clients keep their locations.
		if link.Name != a.name || d.checkLink(a, &link) != nil {
			return nil, gone()
		}
		if a.hook, err = d.hookNew(a, link.Index, record.OwnsQdisc != 0); err != nil {
			return nil, err
		}
		if _, clsact := a.hook.(*tchook.Clsact); !clsact && record.OwnsQdisc != 0 {
			left := tchook.OpenClsact(d.net, link.Index, filterName(a.role), true, d.isOurs)
			if err := left.RemoveQdisc(); err != nil {
				return nil, err
			}
		}
		d.missed = append(d.missed, Change{Name: a.name, What: takenOff})
		return &link, d.enterAgain(a, &link)
	}
	if want := d.opts.Attach; want == AttachAuto || want == a.mode() {
		if err := hook.Replace(d.program(a.role)); err != nil {
			return nil, err
		}
	} else {
		// The new program goes first: for a moment both are there, and TCX alone
		// sees the frames.
		next, err := d.hookNew(a, int(record.Ifindex), false)
		if err != nil {
			return nil, err
		}
		a.hook = next
		if err := hook.Detach(); err != nil {
			return nil, err
		}
	}
	return &link, d.enterAgain(a, &link)
}

// enterAgain tells the programs of a device that is where it was.
func (d *Demux) enterAgain(a *device, link *Link) error {
	if err := d.enter(a, link.Index); err != nil {
		return err
	}
	if err := d.note(a, link); err != nil {
		return err
	}
	if a.role == bpfAttachRoleROLE_WORKER {
		d.point(a)
	}
	if err := d.takeOverEarly(a); err != nil {
		return err
	}
	return d.save(a)
}

// comeBack attaches a device that has gone while nobody looked to the interface that
// has its name now, if there is one and it will do: else it waits for one.
func (d *Demux) comeBack(a *device) error {
	link, err := d.linkByName(a.name)
	if errors.Is(err, ErrUnknownInterface) {
		return nil
	}
	if err == nil {
		err = d.attach(a, link)
	}
	d.missed = append(d.missed, Change{Name: a.name, What: "attached", Err: err})
	if errors.Is(err, ErrUnfit) || errors.Is(err, ErrWrongRole) || errors.Is(err, ErrServed) {
		return nil
	}
	return err
}
