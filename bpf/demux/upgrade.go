package demux

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// copyFrom fills new maps with what the earlier ones hold but for locations, which stay there until no
// earlier program runs any more. Frames go through the earlier ones still.
func (d *Demux) copyFrom(old *snapshot) (map[*device]bpfDevice, error) {
	if len(old.clients) > d.opts.Capacity {
		return nil, fmt.Errorf("%d clients are assigned: %w", len(old.clients), full(d.opts.Capacity))
	}
	records := make(map[*device]bpfDevice)
	d.releases = old.releases
	d.programs = old.programs
	for _, from := range old.devices {
		a, err := d.device(from.name, from.record.Role)
		if err != nil {
			return nil, err
		}
		a.setFlags(from.record.Flags)
		record := from.record
		record.Number = a.number
		records[a] = record
		if record.Ifindex == 0 {
			if err := d.save(a); err != nil {
				return nil, err
			}
			continue
		}
		if err := d.enter(a, int(record.Ifindex)); err != nil {
			return nil, err
		}
		link, err := d.net.LinkByIndex(a.ifindex)
		if err != nil && !missing(err) {
			return nil, fmt.Errorf("looking up interface %s: %w", a.name, err)
		}
		if err == nil {
			now := NewLink(link)
			if err := d.note(a, &now); err != nil {
				return nil, err
			}
		}
		if err := d.objs.Devices.Put(a.key(), &record); err != nil {
			return nil, fmt.Errorf("recording interface %s: %w", a.name, err)
		}
	}
	d.publishLimits()
	d.ran = false // not with these maps
	arrivals := make([]arrival, 0, len(old.clients))
	for _, from := range old.clients {
		places, err := d.resolve(from.places)
		if err != nil {
			return nil, err
		}
		arrivals = append(arrivals, arrival{from.mac, d.devices[from.worker], places})
	}
	if err := d.insertAll(arrivals); err != nil {
		return nil, err
	}
	slots := make([]uint32, 0, len(old.clients))
	for _, from := range old.clients {
		slot := uint32(d.table.find(from.mac).value.Load())
		d.locations[slot].Store(uint64(from.located) + 1)
		slots = append(slots, slot)
	}
	d.listFormerClients()
	return records, d.recount(slots)
}

// listFormerClients tells the programs whose locations are in the earlier maps.
func (d *Demux) listFormerClients() {
	var listed uint32
	for _, slot := range d.free.others(0, d.opts.Capacity) {
		if inFormerMaps(d.locations[slot].Load()) && int(listed) < len(d.formerClients) {
			d.formerClients[listed].Store(uint64(slot))
			listed++
		}
	}
	atomic.StoreUint32(&d.policies[0].FormerClients, listed)
}

func (d *Demux) location(slot uint32) *word {
	at := &d.locations[slot]
	if former := at.Load(); inFormerMaps(former) && former <= uint64(len(d.former)) {
		return &d.former[former-1]
	}
	return at
}

// takeLocations takes the locations out of the earlier maps, which no program uses any more but ours. With
// the mark they tell apart who was seen since. Doing it again does nothing more.
func (d *Demux) takeLocations(now *snapshot) error {
	marked := func(from *word) uint64 {
		if seen := from.Load(); seen != 0 {
			return seen | locationUnused
		}
		return 0
	}
	slots := make([]uint32, 0, len(now.clients))
	for _, from := range now.clients {
		if e := d.table.find(from.mac); e != nil {
			slot := uint32(e.value.Load())
			d.locations[slot].CompareAndSwap(uint64(from.located)+1, marked(&d.former[from.located]))
			slots = append(slots, slot)
		}
	}
	// A program that has found a location in the earlier maps may write it there still.
	if err := d.wait(); err != nil {
		return err
	}
	for _, from := range now.clients {
		if e := d.table.find(from.mac); e != nil {
			at := &d.locations[uint32(e.value.Load())]
			if taken := at.Load(); taken == 0 || taken&locationUnused != 0 {
				at.CompareAndSwap(taken, marked(&d.former[from.located]))
			}
		}
	}
	return d.recount(slots)
}

// giveBack puts the locations that a killed process had begun to take out of the maps before its own back there, where
// the programs of all three find them.
func (d *Demux) giveBack(from *pinSet, then *snapshot) error {
	located, err := from.located()
	if err != nil || located == from {
		return err
	}
	var taken []word
	if err := mapMemory(&taken, from.maps[bpfMapLocations]); err != nil {
		return err
	}
	d.ran = true
	for again := true; again && err == nil; err = errors.Join(err, d.wait()) { // for programs that write where they found it
		again = false
		for _, client := range then.clients {
			at := &taken[client.slot]
			for seen := at.Load(); !inFormerMaps(seen); seen = at.Load() {
				d.former[client.located].Store(seen)
				at.CompareAndSwap(seen, uint64(client.located)+1)
				again = true
			}
		}
	}
	return errors.Join(err, unmapMemory(&taken))
}

// mergeFrom adds what the earlier maps counted up to the moment when the last of their
// programs ended. Doing it again does nothing more.
func (d *Demux) mergeFrom(now *snapshot) error {
	for _, from := range now.clients {
		if e := d.table.find(from.mac); e != nil {
			d.slots[uint32(e.value.Load())].Base = bpfClientTally{Rx: minus(from.counted.Rx), Tx: minus(from.counted.Tx)}
		}
	}
	errs := []error{d.takeLocations(now)}
	for _, from := range now.devices {
		if a := d.formerNames[from.name]; a != nil && d.devices[a.name] == a {
			a.floodedBase = from.flooded
			errs = append(errs, d.save(a))
		}
	}
	d.base.PassedBase, d.base.EventsLostBase, d.base.PlacesLostBase = now.passed, now.eventsLost, now.placesLost
	copy(d.base.DropBases[:], now.drops)
	d.migrated = true
	return errors.Join(append(errs, d.saveOwner())...)
}

func (t *bpfTally) add(other bpfTally) { *t = sumTally(*t, []bpfTally{other}) }

func minus(t bpfTally) bpfTally { return bpfTally{Packets: -t.Packets, Bytes: -t.Bytes} }
