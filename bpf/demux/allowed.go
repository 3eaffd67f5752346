package demux

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// allowedPlace is a place where a client may be.
type allowedPlace struct {
	trunk *device
	place uint32 // protocol and VID, as place_on_trunk has them
}

// placeRule is struct place_rule.
type placeRule struct{ restricted, announced word }

// As in places.h.
const (
	placeTrunkShift = 13
	placeAD         = 1 << 12
)

func (p allowedPlace) key(slot uint32) bpfAllowedPlace {
	return bpfAllowedPlace{Slot: slot, Place: p.trunk.number<<placeTrunkShift | p.place}
}

func (p allowedPlace) named() Place {
	place := Place{Trunk: p.trunk.name, Protocol: Protocol8021Q, VID: uint16(p.place) &^ placeAD}
	if p.place&placeAD != 0 {
		place.Protocol = Protocol8021AD
	}
	return place
}

// location is that of a client which was not seen there; 0 while the trunk is not there.
func (p allowedPlace) location() uint64 {
	if p.trunk.ifindex == 0 {
		return 0
	}
	protocol := uint64(0x8100)
	if p.place&placeAD != 0 {
		protocol = 0x88a8
	}
	return uint64(p.trunk.ifindex)<<32 | protocol<<16 | uint64(p.place&^placeAD)
}

// resolve finds the trunks of the places, which are remembered from then on for as long as
// a client may be there.
func (d *Demux) resolve(places []Place) ([]allowedPlace, error) {
	places, err := CanonicalPlaces(places)
	if err != nil {
		return nil, err
	}
	list := make([]allowedPlace, 0, len(places))
	for _, p := range places {
		trunk := d.devices[p.Trunk]
		if trunk == nil || trunk.role != bpfAttachRoleROLE_TRUNK {
			return nil, fmt.Errorf("place %s: %w: %s is no trunk here, attach it first", p, ErrUnknownInterface, p.Trunk)
		}
		allowed := allowedPlace{trunk: trunk, place: uint32(p.VID)}
		if p.Protocol == Protocol8021AD {
			allowed.place |= placeAD
		}
		list = append(list, allowed)
	}
	return list, nil
}

// placesOf lists where the client of the slot may be, in order; nil for anywhere.
func (d *Demux) placesOf(slot uint32) []Place {
	allowed, restricted := d.allowed[slot]
	if !restricted {
		return nil
	}
	places := make([]Place, 0, len(allowed))
	for _, p := range allowed {
		places = append(places, p.named())
	}
	slices.SortFunc(places, Place.Compare)
	return places
}

// allow adds to where clients may be: all of it or, with an error, nothing. It takes effect with restrict.
func (d *Demux) allow(wanted map[uint32][]allowedPlace) error {
	var added []bpfAllowedPlace
	for slot, places := range wanted {
		for _, p := range places {
			if slices.Contains(d.allowed[slot], p) {
				continue
			}
			key := p.key(slot)
			if err := d.objs.AllowedPlaces.Put(&key, uint8(1)); err != nil {
				if errors.Is(err, unix.E2BIG) {
					err = fmt.Errorf("all %d places of all clients are in use, let some be anywhere, or load with a larger capacity: %w", d.objs.AllowedPlaces.MaxEntries(), ErrFull)
				}
				err = fmt.Errorf("allowing a client to be at %s: %w", p.named(), err)
				return errors.Join(err, d.deleteAllowed(added))
			}
			added = append(added, key)
		}
	}
	return nil
}

func (d *Demux) deleteAllowed(keys []bpfAllowedPlace) error {
	var errs []error
	for _, key := range keys {
		errs = append(errs, erase(d.objs.AllowedPlaces, &key, "forgetting where a client may be"))
	}
	return errors.Join(errs...)
}

// restrict lets the client be at those places alone, which were allowed before; with none, anywhere.
func (d *Demux) restrict(slot uint32, places []allowedPlace) error {
	former := d.allowed[slot]
	if len(places) == 0 && former == nil {
		return nil
	}
	var gone []bpfAllowedPlace
	for _, p := range former {
		p.trunk.allows--
		if !slices.Contains(places, p) {
			gone = append(gone, p.key(slot))
		}
	}
	for _, p := range places {
		p.trunk.allows++
	}
	if len(places) == 0 {
		d.placeRules[slot].restricted.Store(0)
		delete(d.allowed, slot)
	} else {
		d.placeRules[slot].restricted.Store(1)
		d.allowed[slot] = places
	}
	return d.deleteAllowed(gone)
}

// restrictAll is restrict for clients whose places may stay as they are.
func (d *Demux) restrictAll(wanted map[uint32][]allowedPlace) error {
	var changed []uint32
	for slot, places := range wanted {
		if slices.Equal(places, d.allowed[slot]) {
			continue
		}
		if err := d.restrict(slot, places); err != nil {
			return err
		}
		changed = append(changed, slot)
	}
	return errors.Join(d.relocate(changed), d.forgetUnnamed())
}

// relocate forgets locations where clients may not be, once every program knows so, and
// writes down where a client is that can be at one place only.
func (d *Demux) relocate(slots []uint32) error {
	if len(slots) == 0 {
		return nil
	}
	if err := d.wait(); err != nil {
		return err
	}
	for _, slot := range slots {
		places := d.allowed[slot]
		for places != nil {
			seen := d.location(slot).Load()
			if seen == 0 || slices.ContainsFunc(places, func(p allowedPlace) bool { return p.location() == seen&locationPlaceMask }) ||
				d.location(slot).CompareAndSwap(seen, 0) {
				break
			}
		}
		d.expect(slot)
	}
	return d.recount(slots)
}

// expect writes down where a client is that can be at one place only, unless it has been seen there.
func (d *Demux) expect(slot uint32) bool {
	places := d.allowed[slot]
	if len(places) != 1 || places[0].location() == 0 {
		return false
	}
	return d.location(slot).CompareAndSwap(0, places[0].location())
}

// expectOn does that for a trunk that has come.
func (d *Demux) expectOn(trunk *device) error {
	if trunk.allows == 0 {
		return nil
	}
	var expected []uint32
	for slot, places := range d.allowed {
		if len(places) == 1 && places[0].trunk == trunk && d.expect(slot) {
			expected = append(expected, slot)
		}
	}
	return d.recount(expected)
}

// moveAllowed makes the places of a trunk those of another, which has its name now.
func (d *Demux) moveAllowed(from, to *device) error {
	for slot, places := range d.allowed {
		moved := slices.Clone(places)
		for i := range moved {
			if moved[i].trunk == from {
				moved[i].trunk = to
			}
		}
		if slices.Equal(moved, places) {
			continue
		}
		if err := d.allow(map[uint32][]allowedPlace{slot: moved}); err != nil {
			return err
		}
		if err := d.restrict(slot, moved); err != nil {
			return err
		}
	}
	return d.expectOn(to)
}

// forgetUnnamed forgets trunks that were detached, once no client may be there any more.
func (d *Demux) forgetUnnamed() error {
	var errs []error
	for _, a := range d.devices {
		if a.namedOnly && a.allows == 0 {
			errs = append(errs, d.forget(a))
		}
	}
	return errors.Join(errs...)
}

// restoreAllowed reads where clients may be, and removes what a process left that was
// killed while it changed that.
func (d *Demux) restoreAllowed() (err error) {
	trunks := make(map[uint32]*device)
	for _, a := range d.devices {
		if a.role == bpfAttachRoleROLE_TRUNK {
			trunks[a.number] = a
		}
	}
	for slot := range d.placeRules {
		rule := &d.placeRules[slot].restricted
		switch {
		case rule.Load() == 0:
		case d.clients[slot].mac == 0:
			rule.Store(0)
		default:
			d.allowed[uint32(slot)] = []allowedPlace{}
		}
	}
	var stale []bpfAllowedPlace
	for key := range entries[bpfAllowedPlace, uint8](d.objs.AllowedPlaces, "where clients may be", &err) {
		trunk := trunks[key.Place>>placeTrunkShift]
		if _, restricted := d.allowed[key.Slot]; !restricted || trunk == nil {
			stale = append(stale, key)
			continue
		}
		trunk.allows++
		d.allowed[key.Slot] = append(d.allowed[key.Slot], allowedPlace{trunk: trunk, place: key.Place & (1<<placeTrunkShift - 1)})
	}
	if err != nil {
		return err
	}
	return d.deleteAllowed(stale)
}
