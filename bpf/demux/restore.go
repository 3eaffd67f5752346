package demux

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/vlandemux/vlandemux/bpf/internal/tchook"
)

// restore reads what the maps hold and takes over what is attached. New maps
// are the simple case of that.
func (d *Demux) restore() error {
	var owner bpfOwner
	if err := d.objs.Owners.Lookup(uint32(0), &owner); err != nil {
		return fmt.Errorf("reading the owner of the maps: %w", err)
	}
	if owner.Generation != 0 && owner.Layout != layoutVersion {
		return d.incompatible(fmt.Errorf("layout %d, %d is needed", owner.Layout, layoutVersion))
	}
	d.generation, d.releases = owner.Generation+1, owner.Releases
	if err := d.restoreClients(); err != nil {
		return err
	}
	if err := d.restoreLists(); err != nil {
		return err
	}
	if err := d.restoreAttachments(); err != nil {
		return err
	}
	return d.saveOwner()
}

func (d *Demux) restoreClients() error {
	var (
		mac    MAC
		client bpfClient
		used   = make([]bool, d.opts.Capacity)
		entry  = d.objs.Clients.Iterate()
	)
	for entry.Next(&mac, &client) {
		if int(client.Slot) >= len(used) || used[client.Slot] {
			return d.incompatible(fmt.Errorf("client %s has slot %d of another client or beyond the capacity", mac, client.Slot))
		}
		used[client.Slot] = true
		d.clients[mac] = client
	}
	if err := entry.Err(); err != nil {
		return fmt.Errorf("reading assignments: %w", err)
	}

	released := make([]uint64, len(used))
	for slot := range used {
		if used[slot] {
			continue
		}
		var state bpfSlot
		if d.generation > 1 {
			if err := d.objs.Slots.Lookup(uint32(slot), &state); err != nil {
				return fmt.Errorf("reading slot %d: %w", slot, err)
			}
		}
		released[slot] = state.Released
		d.free = append(d.free, uint32(slot))
	}
	slices.SortStableFunc(d.free, func(a, b uint32) int { return cmp.Compare(released[a], released[b]) })
	return nil
}

// restoreLists makes the lists for group frames agree with the assignments,
// even if the earlier process was killed between the two.
func (d *Demux) restoreLists() error {
	workers := make(map[uint32]bool)
	for _, client := range d.clients {
		workers[client.Worker] = true
	}
	var worker, inner uint32
	entry := d.objs.WorkerClients.Iterate()
	for entry.Next(&worker, &inner) {
		workers[worker] = true
	}
	if err := entry.Err(); err != nil {
		return fmt.Errorf("reading the workers' lists of clients: %w", err)
	}
	return d.publishLists(workers)
}

func (d *Demux) restoreAttachments() error {
	var (
		index  uint32
		record bpfAttachment
		found  = make(map[uint32]bpfAttachment)
		entry  = d.objs.Attachments.Iterate()
	)
	for entry.Next(&index, &record) {
		found[index] = record
	}
	if err := entry.Err(); err != nil {
		return fmt.Errorf("reading what is attached: %w", err)
	}
	for index, record := range found {
		if err := d.takeOver(int(index), record); err != nil {
			return err
		}
	}
	return nil
}

// takeOver puts our program in the place of the earlier process's, in the mode
// that the options ask for.
func (d *Demux) takeOver(ifindex int, record bpfAttachment) error {
	old, err := d.openAttachment(ifindex, record)
	if errors.Is(err, tchook.ErrGone) {
		return d.forget(ifindex, record.Role)
	}
	if err != nil {
		return err
	}
	if want := d.opts.Attach; want == AttachAuto || want == old.mode() {
		if err := old.Replace(d.program(record.Role)); err != nil {
			return errors.Join(err, old.Close())
		}
		d.attached[ifindex] = old
		return nil
	}
	// The new program goes first: for a moment both are there, and TCX alone
	// sees the frames.
	next, err := d.attachNew(ifindex, record.Role)
	if err != nil {
		return errors.Join(err, old.Close())
	}
	d.attached[ifindex] = next
	if err := old.Detach(); err != nil {
		return err
	}
	return d.saveAttachment(next)
}

// forget removes what the maps say about an interface that is gone or detached.
func (d *Demux) forget(ifindex int, role bpfAttachRole) error {
	delete(d.attached, ifindex)
	maps := []*ebpf.Map{d.objs.Attachments}
	switch role {
	case bpfAttachRoleROLE_TRUNK:
		maps = append(maps, d.objs.TrunkPlaces) // waits for programs that are running
	case bpfAttachRoleROLE_WORKER:
		maps = append(maps, d.objs.WorkerFloods)
	}
	for _, m := range maps {
		if err := m.Delete(uint32(ifindex)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("forgetting interface %d: %w", ifindex, err)
		}
	}
	if role == bpfAttachRoleROLE_TRUNK {
		d.locations.clearTrunk(ifindex)
	}
	return nil
}
