package demux

import "sync/atomic"

// noSlot ends a list of slots.
const noSlot = ^uint32(0)

// client is what user space keeps of a client beside the maps, by slot.
type client struct {
	mac            uint64 // 0: the slot is free
	worker         *device
	previous, next uint32 // slots of the same worker's clients
}

func (d *Demux) join(slot uint32, worker *device) {
	c := &d.clients[slot]
	c.worker, c.previous, c.next = worker, noSlot, worker.first
	if worker.first != noSlot {
		d.clients[worker.first].previous = slot
	}
	worker.first = slot
	worker.clients++
	d.states[worker.number].Clients = uint64(worker.clients)
}

func (d *Demux) leave(slot uint32) {
	c := &d.clients[slot]
	worker := c.worker
	if c.previous == noSlot {
		worker.first = c.next
	} else {
		d.clients[c.previous].next = c.next
	}
	if c.next != noSlot {
		d.clients[c.next].previous = c.previous
	}
	c.worker = nil
	worker.clients--
	d.states[worker.number].Clients = uint64(worker.clients)
}

func (d *Demux) slotsOf(worker *device) []uint32 {
	slots := make([]uint32, 0, worker.clients)
	for slot := worker.first; slot != noSlot; slot = d.clients[slot].next {
		slots = append(slots, slot)
	}
	return slots
}

// point writes where the worker is now into the entries of its clients: one store
// each, between two frames.
func (d *Demux) point(worker *device) {
	if worker.isDefault {
		atomic.StoreUint32(&d.policies[0].DefaultWorker, worker.target())
	}
	for slot := worker.first; slot != noSlot; slot = d.clients[slot].next {
		d.table.find(d.clients[slot].mac).value.Store(clientValue(slot, worker))
	}
}

// clientValue is the value of struct client.
func clientValue(slot uint32, worker *device) uint64 {
	return uint64(slot) | uint64(worker.target())<<32
}

// freeSlots finds the slots without a client.
func (d *Demux) freeSlots() {
	d.free = newSlotSet(len(d.clients))
	for slot := range d.clients {
		if d.clients[slot].mac == 0 {
			d.free.add(uint32(slot))
		}
	}
}
