package demux

import (
	"errors"
	"fmt"
)

var (
	// ErrBadPlace means that a place is malformed.
	ErrBadPlace = errors.New("bad place")
	// ErrBadMAC means that an address is malformed, zero or a group's.
	ErrBadMAC = errors.New("bad MAC address")
	// ErrAssigned means that the MAC has another worker already, or may be at other places; ReassignAll changes that.
	ErrAssigned = errors.New("already assigned")
	// ErrNotAssigned means that the MAC has no worker.
	ErrNotAssigned = errors.New("not assigned")
	// ErrFull means that no further MAC can be assigned; those that are assigned keep working.
	ErrFull = errors.New("the table of clients is full")
	// ErrUnknownInterface means that there is no interface of that name, or
	// that it is not attached.
	ErrUnknownInterface = errors.New("unknown interface")
	// ErrWrongRole means that the interface is attached as a trunk where a
	// worker is needed, or the other way round, or can be neither.
	ErrWrongRole = errors.New("the interface cannot have that role")
	// ErrIncompatiblePins means that the pins in Options.PinPath were made by a later
	// or a broken release.
	ErrIncompatiblePins = errors.New("incompatible pins")
	// ErrOtherNamespace means that the pins are those of a dataplane in another network
	// namespace: its interfaces are not the ones here.
	ErrOtherNamespace = errors.New("the pins belong to another network namespace")
	// ErrServed means that another vlandemux, with other pins, serves the interface, or may: what is on it cannot be seen.
	ErrServed = errors.New("another vlandemux serves the interface")
	// ErrUnfit means that the interface is not taken without force: its traffic would go to the demux.
	ErrUnfit = errors.New("the interface looks like one of the host's own")
	// ErrTakenOver means that another Demux was loaded from the same pins: it
	// runs the dataplane now, and this one may only read.
	ErrTakenOver = errors.New("taken over by another process")
	// ErrClosed means that the Demux was closed.
	ErrClosed = errors.New("demux is closed")
)

func badMAC(text, reason string) error { return fmt.Errorf("%w %q: %s", ErrBadMAC, text, reason) }

// noPlace is for a MAC whose buckets cannot be made room in, though slots are free.
func noPlace(used, capacity int) error {
	return fmt.Errorf("%w where this MAC belongs, though only %d of %d assignments are in use: load with another capacity, the MACs are placed anew then", ErrFull, used, capacity)
}

func full(capacity int) error {
	return fmt.Errorf("%w: all %d assignments are in use: unassign a client, or load with a larger capacity", ErrFull, capacity)
}
