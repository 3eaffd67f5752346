package demux

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
)

// The first layout: pins of releases before this one. Its maps have the pin folder
// itself, clients are a hash map, and interfaces are known by index alone.

func firstLayoutNames() []string {
	return []string{
		"attachments", bpfMapClientTallies, bpfMapClients, bpfMapCpuStates, bpfMapDrops, bpfMapEvents,
		bpfMapLocations, bpfMapOwners, bpfMapSlots, "trunk_places", "worker_clients", bpfMapWorkerFloods,
	}
}

// openFirstLayout returns nil if the folder has none. Maps of others may have the
// same names: the owner's has a size and a content of its own.
func openFirstLayout(path string) (*pinSet, error) {
	set := &pinSet{path: path, layout: 1}
	if _, err := os.Lstat(filepath.Join(path, "attachments")); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err := set.open(firstLayoutNames()); err != nil {
		return nil, errors.Join(err, set.close())
	}
	var owner struct{ Layout, Generation, Releases uint64 }
	for _, name := range firstLayoutNames() {
		if set.maps[name] == nil {
			return nil, set.close()
		}
	}
	if m := set.maps[bpfMapOwners]; m.ValueSize() != uint32(binary.Size(owner)) || m.KeySize() != 4 {
		return nil, set.close()
	}
	if err := set.maps[bpfMapOwners].Lookup(uint32(0), &owner); err != nil {
		return nil, errors.Join(fmt.Errorf("reading who runs %s: %w", path, err), set.close())
	}
	if owner.Layout != 1 {
		return nil, set.close()
	}
	set.owner.Releases = owner.Releases
	set.capacity = int(set.maps[bpfMapLocations].MaxEntries())
	return set, nil
}

// disown lets a process that works with the set only read from now on. Every layout
// has the generation at the same place in the owner's record, which may be longer or
// shorter than ours.
func (s *pinSet) disown() error {
	const generation = 8
	record, err := s.maps[bpfMapOwners].LookupBytes(uint32(0))
	if err == nil {
		binary.NativeEndian.PutUint64(record[generation:], binary.NativeEndian.Uint64(record[generation:])+1)
		err = s.maps[bpfMapOwners].Put(uint32(0), record)
	}
	if err != nil {
		return fmt.Errorf("ending the ownership of %s: %w", s.path, err)
	}
	return nil
}

func (s *pinSet) readFirstDevices(d *Demux) (snap *snapshot, err error) {
	snap = &snapshot{releases: s.owner.Releases}
	type attachment struct{ Role, Mode, OwnsQdisc uint32 }
	for ifindex, record := range entries[uint32, attachment](s.maps["attachments"], "what is attached", &err) {
		name, err := d.firstLayoutName(int(ifindex))
		if err != nil {
			return nil, err
		}
		device := snapshotDevice{name: name, record: bpfDevice{
			Ifindex: ifindex, Role: bpfAttachRole(record.Role), Mode: bpfAttachMode(record.Mode), OwnsQdisc: record.OwnsQdisc, Flags: bpfDeviceForced,
		}}
		if device.record.Role == bpfAttachRoleROLE_WORKER {
			var cpus []bpfTally
			if err := s.maps[bpfMapWorkerFloods].Lookup(ifindex, &cpus); err != nil {
				return nil, fmt.Errorf("reading counters of worker %s: %w", name, err)
			}
			device.flooded = sumTally(bpfTally{}, cpus)
		}
		if device.record.Mode == bpfAttachModeMODE_CLSACT {
			if err := d.firstLayoutFilter(snap, device); err != nil {
				return nil, err
			}
		}
		snap.devices = append(snap.devices, device)
	}
	return snap, err
}

// readFirstClients adds the clients to what is known of the devices.
func (s *pinSet) readFirstClients(d *Demux, snap *snapshot) (_ *snapshot, err error) {
	names := make(map[uint32]string)
	for i := range snap.devices {
		names[snap.devices[i].record.Ifindex] = snap.devices[i].name
	}
	type assigned struct{ Slot, Worker uint32 }
	for mac, client := range entries[MAC, assigned](s.maps[bpfMapClients], "the assignments", &err) {
		name, there := names[client.Worker]
		if !there { // detached, and its clients were kept
			var err error
			if name, err = d.firstLayoutName(int(client.Worker)); err != nil {
				return nil, err
			}
			names[client.Worker] = name
			snap.devices = append(snap.devices, snapshotDevice{name: name, record: bpfDevice{Role: bpfAttachRoleROLE_WORKER}})
		}
		var slot bpfSlot
		if err := s.maps[bpfMapSlots].Lookup(client.Slot, &slot); err != nil {
			return nil, fmt.Errorf("reading counters of %s: %w", mac, err)
		}
		from, err := s.readClient(mac.word(), client.Slot, name, slot.Base)
		if err != nil {
			return nil, err
		}
		snap.clients = append(snap.clients, from)
	}
	if err != nil {
		return nil, err
	}
	return snap, s.readSums(snap)
}

// firstLayoutName is the name of the interface, which the first layout did not note.
func (d *Demux) firstLayoutName(ifindex int) (string, error) {
	link, err := d.net.LinkByIndex(ifindex)
	if missing(err) {
		return fmt.Sprintf("ifindex%d", ifindex), nil
	}
	if err != nil {
		return "", fmt.Errorf("looking up interface %d: %w", ifindex, err)
	}
	return link.Attrs().Name, nil
}

// firstLayoutFilter notes the program of a clsact filter, which the first layout
// knew by its name.
func (d *Demux) firstLayoutFilter(snap *snapshot, device snapshotDevice) error {
	handle := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: int(device.record.Ifindex)}, LinkType: "any"}
	filters, err := d.net.FilterList(handle, netlink.HANDLE_MIN_INGRESS)
	if err != nil && !missing(err) {
		return fmt.Errorf("listing filters of interface %s: %w", device.name, err)
	}
	for _, filter := range filters {
		if bpf, ok := filter.(*netlink.BpfFilter); ok && bpf.Name == filterName(device.record.Role) {
			snap.programs = append(snap.programs, uint32(bpf.Id))
		}
	}
	return nil
}

// wordsOf reads the words of a value whose length differs between releases: four at
// least, zero where there are none.
func wordsOf(octets []byte) []uint64 {
	words := make([]uint64, max(len(octets)/8, 4))
	_ = binary.Read(bytes.NewReader(octets), binary.NativeEndian, words[:len(octets)/8])
	return words
}
