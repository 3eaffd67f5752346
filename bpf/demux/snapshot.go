package demux

import (
	"errors"
	"fmt"
)

// snapshot is what an earlier set of maps holds, of whatever layout.
type snapshot struct {
	devices  []snapshotDevice
	clients  []snapshotClient
	programs []uint32
	releases uint64

	passed     bpfTally
	drops      []bpfTally // by reason
	eventsLost uint64
	placesLost uint64
}

type snapshotDevice struct {
	name    string
	record  bpfDevice
	flooded bpfTally
}

type snapshotClient struct {
	mac     uint64
	worker  string
	slot    uint32 // in the set
	located uint32 // the slot of its location, see pinSet.located
	counted bpfClientTally
	places  []Place
}

// read takes a snapshot of the set and of those before it.
func (s *pinSet) read(d *Demux) (*snapshot, error) {
	snap, err := s.readAlone(d)
	if err != nil || s.former == nil {
		return snap, err
	}
	before, err := s.former.read(d)
	if err != nil {
		return nil, err
	}
	located, err := s.located()
	if err != nil {
		return nil, err
	}
	snap.add(before, located != s)
	return snap, nil
}

// add adds what the sets before counted. Its locations are theirs if they are located there.
func (s *snapshot) add(before *snapshot, located bool) {
	clients := make(map[uint64]*snapshotClient, len(before.clients))
	for i := range before.clients {
		clients[before.clients[i].mac] = &before.clients[i]
	}
	for i := range s.clients {
		c := &s.clients[i]
		if was := clients[c.mac]; was != nil {
			c.counted.Rx.add(was.counted.Rx)
			c.counted.Tx.add(was.counted.Tx)
			if located {
				c.located = was.located
			}
		}
	}
	for i := range s.devices {
		for _, was := range before.devices {
			if was.name == s.devices[i].name {
				s.devices[i].flooded.add(was.flooded)
			}
		}
	}
	for reason := range min(len(s.drops), len(before.drops)) {
		s.drops[reason].add(before.drops[reason])
	}
	s.passed.add(before.passed)
	s.eventsLost += before.eventsLost
	s.placesLost += before.placesLost
	s.programs = append(s.programs, before.programs...)
}

// readDevices takes a snapshot of the set without its clients and sums.
func (s *pinSet) readDevices(d *Demux) (snap *snapshot, err error) {
	if s.layout == 1 {
		return s.readFirstDevices(d)
	}
	snap = &snapshot{programs: programIDs(&s.owner), releases: s.owner.Releases}
	for key, record := range entries[deviceKey, bpfDevice](s.maps[bpfMapDevices], "the trunks and workers", &err) {
		flooded := record.FloodedBase
		if s.former != nil {
			flooded = bpfTally{}
		}
		if record.Role == bpfAttachRoleROLE_WORKER {
			var cpus []bpfTally
			if err := s.maps[bpfMapWorkerFloods].Lookup(record.Number, &cpus); err != nil {
				return nil, fmt.Errorf("reading counters of worker %s: %w", nameOf(key), err)
			}
			flooded = sumTally(flooded, cpus)
		}
		snap.devices = append(snap.devices, snapshotDevice{nameOf(key), record, flooded})
	}
	return snap, err
}

func (s *pinSet) readAlone(d *Demux) (snap *snapshot, err error) {
	snap, err = s.readDevices(d)
	if err != nil {
		return nil, err
	}
	if s.layout == 1 {
		return s.readFirstClients(d, snap)
	}
	names, byIndex, trunks := make(map[uint32]string), make(map[uint32]string), make(map[uint32]*device)
	for i := range snap.devices {
		if from := &snap.devices[i]; from.record.Role == bpfAttachRoleROLE_WORKER {
			names[from.record.Number], byIndex[from.record.Ifindex] = from.name, from.name
		} else {
			trunks[from.record.Number] = &device{name: from.name}
		}
	}
	delete(byIndex, 0)
	places, err := s.readPlaces(trunks)
	if err == nil && s.layout >= 4 {
		err = s.readTallies()
	}
	if err != nil {
		return nil, err
	}
	var (
		buckets [][bucketEntries]entry
		workers []word
		slots   []bpfSlot
	)
	defer func() { err = errors.Join(err, unmapMemory(&buckets), unmapMemory(&workers), unmapMemory(&slots)) }()
	if err := errors.Join(mapMemory(&buckets, s.maps[bpfMapClients]), mapMemory(&workers, s.maps[bpfMapClientWorkers]), mapMemory(&slots, s.maps[bpfMapSlots])); err != nil {
		return nil, err
	}
	read := make([]bool, s.capacity) // by slot: a client that was being moved to its other bucket is in both
	for b := range buckets {
		for i := range buckets[b] {
			e := &buckets[b][i]
			mac, value := e.key.Load()&macMask, e.value.Load()
			if mac == 0 {
				continue
			}
			slot := uint32(value)
			if int(slot) >= s.capacity {
				return nil, d.incompatible(fmt.Errorf("client %s has slot %d of %d", macOf(mac), slot, s.capacity))
			}
			number := workers[slot].Load()
			worker := names[uint32(number)]
			if number == 0 { // it was being reassigned
				worker = byIndex[uint32(value>>32)&^bpfWorkerPeer]
			}
			if worker == "" || read[slot] {
				continue
			}
			read[slot] = true
			client, err := s.readClient(mac, slot, worker, slots[slot].Base)
			if err != nil {
				return nil, err
			}
			client.places = places[slot]
			snap.clients = append(snap.clients, client)
		}
	}
	return snap, s.readSums(snap)
}

// readTallies reads what the programs have counted of clients, of whom earlier layouts have a value for each processor.
func (s *pinSet) readTallies() error {
	var tallies []bpfClientTally
	if err := mapMemory(&tallies, s.maps[bpfMapClientTallies]); err != nil {
		return err
	}
	all := make([]uint32, s.capacity)
	for slot := range all {
		all[slot] = uint32(slot)
	}
	s.counted = readTallies(tallies, s.capacity, all)
	return unmapMemory(&tallies)
}

// readPlaces reads where clients may be, by slot. The second layout lets each be anywhere.
func (s *pinSet) readPlaces(trunks map[uint32]*device) (places map[uint32][]Place, err error) {
	places = make(map[uint32][]Place)
	if s.layout == 2 {
		return places, nil
	}
	var rule bpfPlaceRule
	for key := range entries[bpfAllowedPlace, uint8](s.maps[bpfMapAllowedPlaces], "where clients may be", &err) {
		if err := s.maps[bpfMapPlaceRules].Lookup(key.Slot, &rule); err != nil {
			return nil, fmt.Errorf("reading whether a client is restricted: %w", err)
		}
		if trunk := trunks[key.Place>>placeTrunkShift]; trunk != nil && rule.Restricted != 0 {
			allowed := allowedPlace{trunk: trunk, place: key.Place & (1<<placeTrunkShift - 1)}
			places[key.Slot] = append(places[key.Slot], allowed.named())
		}
	}
	return places, err
}

// readClient reads what a client has counted beyond base.
func (s *pinSet) readClient(mac uint64, slot uint32, worker string, base bpfClientTally) (c snapshotClient, err error) {
	c = snapshotClient{mac: mac, worker: worker, slot: slot, located: slot}
	var cpus []bpfClientTally
	if s.layout >= 4 {
		cpus = s.counted[slot : slot+1]
	} else if err := s.maps[bpfMapClientTallies].Lookup(slot, &cpus); err != nil {
		return c, fmt.Errorf("reading counters of %s: %w", macOf(mac), err)
	}
	if s.former != nil {
		base = bpfClientTally{}
	}
	var now bpfClientTally
	for _, cpu := range cpus {
		now.Rx.add(cpu.Rx)
		now.Tx.add(cpu.Tx)
	}
	rx, tx := since(base.Rx, now.Rx), since(base.Tx, now.Tx)
	c.counted.Rx.Packets, c.counted.Rx.Bytes = rx.Packets, rx.Bytes
	c.counted.Tx.Packets, c.counted.Tx.Bytes = tx.Packets, tx.Bytes
	return c, nil
}

// readSums reads what is counted for nobody. A later layout has more reasons and may
// have more in cpu_states: what is longer is cut, what is shorter is zero.
func (s *pinSet) readSums(snap *snapshot) error {
	drops := s.maps[bpfMapDrops]
	for reason := range min(drops.MaxEntries(), uint32(len(s.owner.DropBases))) {
		var cpus []bpfTally
		if err := drops.Lookup(reason, &cpus); err != nil {
			return fmt.Errorf("reading drops: %w", err)
		}
		snap.drops = append(snap.drops, sumTally(s.owner.DropBases[reason], cpus))
	}
	snap.passed, snap.eventsLost, snap.placesLost = s.owner.PassedBase, s.owner.EventsLostBase, s.owner.PlacesLostBase
	var cpus [][]byte
	if err := s.maps[bpfMapCpuStates].Lookup(uint32(0), &cpus); err != nil {
		return fmt.Errorf("reading counters of passed frames and lost events: %w", err)
	}
	for _, octets := range cpus {
		words := wordsOf(octets)
		snap.passed.Packets += words[0]
		snap.passed.Bytes += words[1]
		snap.eventsLost += words[2]
		if s.layout > 1 {
			snap.placesLost += words[3]
		}
	}
	return nil
}
