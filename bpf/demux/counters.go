package demux

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
)

// Tally counts traffic in one direction.
type Tally struct {
	Packets uint64 // wire frames; a GSO super-packet counts as those it stands for
	Bytes   uint64 // octets on the trunk: with every VLAN tag, without FCS
}

// ClientCounters are those of one client since it was assigned.
type ClientCounters struct {
	MAC    MAC
	Worker int   // interface index
	Rx     Tally // from the client to its worker
	Tx     Tally // from the worker to the client, group frames not included
}

// WorkerCounters are those of one worker since it was attached.
type WorkerCounters struct {
	Worker  int   // interface index
	Flooded Tally // copies of group frames sent out of trunks
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
	Clients    []ClientCounters // by MAC
	Workers    []WorkerCounters // by interface index
	Drops      []DropCounter    // every reason, in order
	Passed     Tally            // untagged frames left to the stack, see UntaggedPass
	EventsLost uint64           // nobody read events, and the ring was full
}

// Counters returns the present state of all counters.
func (d *Demux) Counters() (Counters, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var c Counters
	if d.closed {
		return c, ErrClosed
	}
	return c, errors.Join(d.readClients(&c), d.readWorkers(&c), d.readDrops(&c), d.readState(&c))
}

func (d *Demux) readClients(c *Counters) error {
	c.Clients = make([]ClientCounters, 0, len(d.clients))
	for mac, client := range d.clients {
		var slot bpfSlot
		if err := d.objs.Slots.Lookup(client.Slot, &slot); err != nil {
			return fmt.Errorf("reading counters of %s: %w", mac, err)
		}
		now, err := d.clientTally(client.Slot)
		if err != nil {
			return fmt.Errorf("reading counters of %s: %w", mac, err)
		}
		c.Clients = append(c.Clients, ClientCounters{
			MAC:    mac,
			Worker: int(client.Worker),
			Rx:     since(slot.Base.Rx, now.Rx),
			Tx:     since(slot.Base.Tx, now.Tx),
		})
	}
	slices.SortFunc(c.Clients, func(a, b ClientCounters) int { return bytes.Compare(a.MAC[:], b.MAC[:]) })
	return nil
}

func (d *Demux) readWorkers(c *Counters) error {
	for ifindex, a := range d.attached {
		if a.role != bpfAttachRoleROLE_WORKER {
			continue
		}
		var cpus []bpfTally
		err := d.objs.WorkerFloods.Lookup(uint32(ifindex), &cpus)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			continue // detached by the process that took over
		}
		if err != nil {
			return fmt.Errorf("reading counters of worker %d: %w", ifindex, err)
		}
		c.Workers = append(c.Workers, WorkerCounters{Worker: ifindex, Flooded: sum(cpus)})
	}
	slices.SortFunc(c.Workers, func(a, b WorkerCounters) int { return cmp.Compare(a.Worker, b.Worker) })
	return nil
}

func (d *Demux) readDrops(c *Counters) error {
	for reason := range DropReason(bpfDropReasonDROP_REASONS) {
		var cpus []bpfTally
		if err := d.objs.Drops.Lookup(uint32(reason), &cpus); err != nil {
			return fmt.Errorf("reading drops of reason %s: %w", reason, err)
		}
		c.Drops = append(c.Drops, DropCounter{Reason: reason, Tally: sum(cpus)})
	}
	return nil
}

func (d *Demux) readState(c *Counters) error {
	var cpus []bpfCpuState
	if err := d.objs.CpuStates.Lookup(uint32(0), &cpus); err != nil {
		return fmt.Errorf("reading counters of passed frames and lost events: %w", err)
	}
	for _, cpu := range cpus {
		c.Passed.Packets += cpu.Passed.Packets
		c.Passed.Bytes += cpu.Passed.Bytes
		c.EventsLost += cpu.EventsLost
	}
	return nil
}

// clientTally adds up the possible CPUs.
func (d *Demux) clientTally(slot uint32) (bpfClientTally, error) {
	var (
		cpus  []bpfClientTally
		total bpfClientTally
	)
	if err := d.objs.ClientTallies.Lookup(slot, &cpus); err != nil {
		return total, fmt.Errorf("reading counters of slot %d: %w", slot, err)
	}
	for _, cpu := range cpus {
		total.Rx.Packets += cpu.Rx.Packets
		total.Rx.Bytes += cpu.Rx.Bytes
		total.Tx.Packets += cpu.Tx.Packets
		total.Tx.Bytes += cpu.Tx.Bytes
	}
	return total, nil
}

func sum(cpus []bpfTally) (total Tally) {
	for _, cpu := range cpus {
		total.Packets += cpu.Packets
		total.Bytes += cpu.Bytes
	}
	return total
}

func since(base, now bpfTally) Tally {
	return Tally{Packets: now.Packets - base.Packets, Bytes: now.Bytes - base.Bytes}
}
