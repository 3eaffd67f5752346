package demux

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Tally counts traffic in one direction.
type Tally struct {
	Packets uint64 `json:"packets"` // wire frames; a GSO super-packet counts as those it stands for
	Bytes   uint64 `json:"bytes"`   // octets on the trunk: with every VLAN tag, without FCS
}

// ClientCounters are those of one client since it was assigned.
type ClientCounters struct {
	MAC      MAC
	Worker   string
	Location Location // where the client was last seen
	Rx       Tally    // from the client to its worker
	Tx       Tally    // from the worker to the client, group frames not included
}

// WorkerCounters are those of one worker since the demux remembers it.
type WorkerCounters struct {
	Worker  string `json:"worker"`  // interface name
	Flooded Tally  `json:"flooded"` // copies of group frames sent out of trunks, one per distinct place
}

// DropCounter counts the frames dropped for one reason. A frame from a worker
// counts with the octets it came with: it got no tag.
type DropCounter struct {
	Reason DropReason
	Tally
}

// Counters are read while traffic flows: each number is exact, two of them may
// be from different moments. None is ever set back; they start at 0 with the
// maps, clients and workers as their types say.
type Counters struct {
	Clients []ClientCounters // by MAC
	Workers []WorkerCounters // by name
	Drops   []DropCounter    // every reason, in order
	Passed  Tally            // untagged frames left to the stack, see UntaggedPass
	// Tagged frames of MACs without a worker, see Options.Unknown: left to the stack, and
	// given to the default worker.
	UnknownPassed, UnknownForwarded Tally
	EventsLost                      uint64 // nobody read events, and the ring was full
	PlacesLost                      uint64 // no memory to note where a client is: group frames may miss it
}

// Counters returns the present state of all counters.
func (d *Demux) Counters() (Counters, error) {
	var c Counters
	if err := d.readClients(&c); err != nil {
		return c, err
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return c, ErrClosed
	}
	return c, errors.Join(d.readWorkers(&c), d.readDrops(&c))
}

// slotsAtOnce is how many slots are read with the lock held: nobody waits long for it.
const slotsAtOnce = 4096

func (d *Demux) readClients(c *Counters) error {
	for first := 0; first < d.opts.Capacity; first += slotsAtOnce {
		if err := d.readSlots(c, first, min(first+slotsAtOnce, d.opts.Capacity)); err != nil {
			return err
		}
	}
	c.Clients = byMAC(c.Clients)
	return nil
}

// byMAC sorts what was read of clients, and leaves each once: one that went and came back meanwhile may have been in two slots.
func byMAC(clients []ClientCounters) []ClientCounters {
	sortByMAC(clients, func(c *ClientCounters) MAC { return c.MAC })
	return slices.CompactFunc(clients, func(a, b ClientCounters) bool { return a.MAC == b.MAC })
}

func (d *Demux) readSlots(c *Counters, first, end int) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return ErrClosed
	}
	c.Clients = slices.Grow(c.Clients, max(d.table.used-len(c.Clients), 0))
	slots := d.free.others(first, end)
	for i, counted := range readTallies(d.tallies, d.opts.Capacity, slots) {
		c.Clients = append(c.Clients, d.clientCounters(slots[i], counted))
	}
	return nil
}

func (d *Demux) clientCounters(slot uint32, now bpfClientTally) ClientCounters {
	client, base := &d.clients[slot], &d.slots[slot].Base
	return ClientCounters{
		MAC:      macOf(client.mac),
		Worker:   client.worker.name,
		Location: unpackLocation(d.locations[slot].Load()),
		Rx:       since(base.Rx, now.Rx),
		Tx:       since(base.Tx, now.Tx),
	}
}

func (d *Demux) readWorkers(c *Counters) error {
	for _, a := range d.devices {
		if a.role != bpfAttachRoleROLE_WORKER {
			continue
		}
		var cpus []bpfTally
		if err := d.objs.WorkerFloods.Lookup(a.number, &cpus); err != nil {
			return fmt.Errorf("reading counters of worker %s: %w", a.name, err)
		}
		c.Workers = append(c.Workers, WorkerCounters{Worker: a.name, Flooded: sum(a.floodedBase, cpus)})
	}
	slices.SortFunc(c.Workers, func(a, b WorkerCounters) int { return cmp.Compare(a.Worker, b.Worker) })
	return nil
}

// readDrops reads what is counted for no client and no worker.
func (d *Demux) readDrops(c *Counters) (err error) {
	read := func(index uint32) Tally {
		var cpus []bpfTally
		if lookupErr := d.objs.Drops.Lookup(index, &cpus); lookupErr != nil {
			err = fmt.Errorf("reading drops of reason %s: %w", DropReason(index), lookupErr)
		}
		return sum(d.base.DropBases[index], cpus)
	}
	for reason := range DropReason(bpfDropReasonDROP_REASONS) {
		c.Drops = append(c.Drops, DropCounter{Reason: reason, Tally: read(uint32(reason))})
	}
	c.UnknownPassed, c.UnknownForwarded = read(bpfUnknownPassed), read(bpfUnknownForwarded)
	if err != nil {
		return err
	}
	var cpus []bpfCpuState
	if err := d.objs.CpuStates.Lookup(uint32(0), &cpus); err != nil {
		return fmt.Errorf("reading counters of passed frames and lost events: %w", err)
	}
	c.Passed = Tally{Packets: d.base.PassedBase.Packets, Bytes: d.base.PassedBase.Bytes}
	c.EventsLost, c.PlacesLost = d.base.EventsLostBase, d.base.PlacesLostBase
	for _, cpu := range cpus {
		c.Passed.Packets += cpu.Passed.Packets
		c.Passed.Bytes += cpu.Passed.Bytes
		c.EventsLost += cpu.EventsLost
		c.PlacesLost += cpu.PlacesLost
	}
	return nil
}

func sum(base bpfTally, cpus []bpfTally) Tally {
	total := sumTally(base, cpus)
	return Tally{Packets: total.Packets, Bytes: total.Bytes}
}

func sumTally(total bpfTally, cpus []bpfTally) bpfTally {
	for _, cpu := range cpus {
		total.Packets += cpu.Packets
		total.Bytes += cpu.Bytes
	}
	return total
}

func since(base, now bpfTally) Tally {
	return Tally{Packets: now.Packets - base.Packets, Bytes: now.Bytes - base.Bytes}
}

// DropReason says why a frame was not forwarded.
type DropReason uint32

// String returns the name of the reason as counters print it: "untagged".
func (r DropReason) String() string {
	names := [...]string{
		bpfDropReasonDROP_UNTAGGED:       "untagged",       // trunk: no VLAN tag
		bpfDropReasonDROP_INVALID_SOURCE: "invalid_source", // trunk: source address is zero or a group
		bpfDropReasonDROP_INVALID_VLAN:   "invalid_vlan",   // trunk: VID 4095
		bpfDropReasonDROP_UNKNOWN_CLIENT: "unknown_client", // trunk: source address has no worker
		bpfDropReasonDROP_NOT_ASSIGNED:   "not_assigned",   // worker: destination is no client of this worker
		bpfDropReasonDROP_UNLEARNED:      "unlearned",      // worker: the client has not been seen yet
		bpfDropReasonDROP_TAG_FAILED:     "tag_failed",     // the kernel could not pop or push the tag
		bpfDropReasonDROP_NO_WORKER:      "no_worker",      // trunk: the client's worker is not there, or down
		bpfDropReasonDROP_TOO_LONG:       "too_long",       // the frame has more octets than the worker or the trunk takes
		bpfDropReasonDROP_NO_TRUNK:       "no_trunk",       // worker: the client's trunk is down
		bpfDropReasonDROP_GROUP_LIMIT:    "group_limit",    // worker: more group frames than Options.GroupLimit
		bpfDropReasonDROP_WRONG_PLACE:    "wrong_place",    // trunk: the client may not be there, see Assignment.Places
		bpfDropReasonDROP_COPY_FAILED:    "copy_failed",    // the kernel could not clone or queue a copy of a group frame
	}
	if int(r) < len(names) && names[r] != "" {
		return names[r]
	}
	return fmt.Sprintf("reason_%d", uint32(r))
}
