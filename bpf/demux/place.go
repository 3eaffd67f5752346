package demux

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/cilium/ebpf"
)

// The protocols of a VLAN tag.
const (
	Protocol8021Q  = "802.1Q"
	Protocol8021AD = "802.1ad"
)

// ProtocolName returns the name of a tag's EtherType: Protocol8021Q, Protocol8021AD, or hexadecimal for others.
func ProtocolName(etherType uint16) string {
	switch etherType {
	case 0x8100:
		return Protocol8021Q
	case 0x88a8:
		return Protocol8021AD
	}
	return fmt.Sprintf("%#04x", etherType)
}

// Place is a VLAN on a trunk.
type Place struct {
	Trunk    string `json:"trunk"`    // interface name
	Protocol string `json:"protocol"` // of the outer tag: Protocol8021Q or Protocol8021AD; empty: Protocol8021Q
	VID      uint16 `json:"vid"`      // 0 to 4094
}

// String gives "eth1:12", and "eth1:ad12" for 802.1ad.
func (p Place) String() string { return p.Trunk + ":" + p.vlan() }

func (p Place) vlan() string {
	if p.Protocol == Protocol8021AD {
		return fmt.Sprintf("ad%d", p.VID)
	}
	return strconv.Itoa(int(p.VID))
}

// Compare orders places by trunk, protocol and VID.
func (p Place) Compare(q Place) int {
	return cmp.Or(cmp.Compare(p.Trunk, q.Trunk), cmp.Compare(p.Protocol, q.Protocol), cmp.Compare(p.VID, q.VID))
}

// check returns the place with its protocol.
func (p Place) check() (Place, error) {
	switch {
	case p.Protocol == "":
		p.Protocol = Protocol8021Q
	case p.Protocol != Protocol8021Q && p.Protocol != Protocol8021AD:
		return p, fmt.Errorf("place on %s: %w: the protocol is %s or %s, not %q", p.Trunk, ErrBadPlace, Protocol8021Q, Protocol8021AD, p.Protocol)
	}
	if p.VID > 4094 {
		return p, fmt.Errorf("place on %s: %w: VID %d is not between 0 and 4094", p.Trunk, ErrBadPlace, p.VID)
	}
	return p, nil
}

// CanonicalPlaces returns the places in order, each once and with its protocol; nil for none.
// Error: [ErrBadPlace].
func CanonicalPlaces(places []Place) ([]Place, error) {
	var list []Place
	for _, p := range places {
		p, err := p.check()
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	slices.SortFunc(list, Place.Compare)
	return slices.Compact(list), nil
}

// Location is where a client was last seen. The zero Location means never.
type Location struct {
	Trunk    int    // interface index of the trunk
	Protocol uint16 // of the outer tag: 0x8100 (802.1Q) or 0x88a8 (802.1ad)
	TCI      uint16 // the whole outer tag as last seen: PCP, DEI and VID
}

// VID returns the VLAN identifier, 0 for a priority tag.
func (l Location) VID() uint16 { return l.TCI & 0x0fff }

// PCP returns the priority code point, 0 to 7.
func (l Location) PCP() uint8 { return uint8(l.TCI >> 13) }

// DEI returns the drop eligible indicator.
func (l Location) DEI() bool { return l.TCI&0x1000 != 0 }

// IsZero reports whether the client was never seen.
func (l Location) IsZero() bool { return l == Location{} }

// String gives "never" or, for example, "trunk 7, 802.1Q VLAN 12".
func (l Location) String() string {
	if l.IsZero() {
		return "never"
	}
	return fmt.Sprintf("trunk %d, %s VLAN %d", l.Trunk, ProtocolName(l.Protocol), l.VID())
}

// locationUnused is LOCATION_UNUSED in types.h.
const locationUnused = uint64(1) << 63

// inFormerMaps is in_former_maps in types.h.
func inFormerMaps(word uint64) bool { return word != 0 && word>>32 == 0 }

// locationPlaceMask is LOCATION_PLACE_MASK: it takes the mark, PCP and DEI out of a location.
const locationPlaceMask = ^uint64(0xf000) &^ locationUnused

// unpackLocation reads the word that pack_location in types.h makes.
func unpackLocation(word uint64) Location {
	word &^= locationUnused
	return Location{Trunk: int(word >> 32), Protocol: uint16(word >> 16), TCI: uint16(word)}
}

// recount makes the clients of the slots count at the places where they should,
// after a change of their workers or locations.
func (d *Demux) recount(slots []uint32) error {
	if err := runWith(d.objs.Recount, slots); err != nil {
		return fmt.Errorf("counting clients at their places: %w", err)
	}
	return nil
}

// runWith runs a program with the values behind an Ethernet header, some to a frame of a page.
func runWith[T any](program *ebpf.Program, values []T) error {
	for some := range slices.Chunk(values, 3200/binary.Size(*new(T))) {
		frame, err := binary.Append(make([]byte, 14), binary.NativeEndian, some)
		if err != nil {
			return err
		}
		if _, err := program.Run(&ebpf.RunOptions{Data: frame}); err != nil {
			return err
		}
	}
	return nil
}

// wait returns when no program runs that ran when it was called. Before anything is
// attached none can.
func (d *Demux) wait() error {
	if !d.ran {
		return nil
	}
	// The kernel ends the replacement of an inner map by waiting for them.
	if err := d.objs.GracePeriod.Put(uint32(0), d.inner); err != nil {
		return fmt.Errorf("waiting for running programs: %w", err)
	}
	return nil
}

// forgetPlaces removes what is counted for a worker on a trunk, once no client
// counts there any more and no program runs that may count one.
func (d *Demux) forgetPlaces(worker, trunk *device) error {
	key := bpfPagesKey{Worker: worker.number, Trunk: trunk.number}
	var pages bpfPages
	err := d.objs.WorkerPages.Lookup(&key, &pages)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	errs := []error{err}
	for i, made := range pages.Made {
		for ; made != 0; made &= made - 1 {
			page := bpfPageKey{Worker: worker.number, Trunk: uint16(trunk.number), Page: uint16(i*64 + bits.TrailingZeros64(made))}
			errs = append(errs, d.objs.PlacePages.Delete(&page))
		}
	}
	if err := errors.Join(append(errs, d.objs.WorkerPages.Delete(&key))...); err != nil {
		return fmt.Errorf("forgetting the places of worker %s on trunk %s: %w", worker.name, trunk.name, err)
	}
	return nil
}

// word is one that the programs change at any time.
type word = atomic.Uint64
