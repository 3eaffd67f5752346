package demux

import (
	"errors"
	"fmt"
)

var (
	// ErrBadPlace means that a place is malformed.
	ErrBadPlace = errors.New("bad place")
	// ErrBadMAC is wrapped by every [*BadMACError].
	ErrBadMAC = errors.New("bad MAC address")
	// ErrAssigned means that the MAC has a worker already; Reassign moves it.
	// It is wrapped by every [*AssignedError].
	ErrAssigned = errors.New("already assigned")
	// ErrNotAssigned means that the MAC has no worker.
	ErrNotAssigned = errors.New("not assigned")
	// ErrFull is wrapped by every [*FullError].
	ErrFull = errors.New("full")
	// ErrUnknownInterface means that there is no interface of that index, or
	// that it is not attached.
	ErrUnknownInterface = errors.New("unknown interface")
	// ErrWrongRole means that the interface is attached as a trunk where a
	// worker is needed, or the other way round.
	ErrWrongRole = errors.New("interface already attached in the other role")
	// ErrIncompatiblePins means that the pins in Options.PinPath were made by a later
	// or a broken release.
	ErrIncompatiblePins = errors.New("incompatible pins")
	// ErrOtherNamespace means that the pins are those of a dataplane in another network
	// namespace: its interfaces are not the ones here.
	ErrOtherNamespace = errors.New("the pins belong to another network namespace")
	// ErrServed means that another vlandemux, with other pins, serves the interface, or may: what is on it cannot be seen.
	ErrServed = errors.New("another vlandemux serves the interface")
	// ErrUnfit is wrapped by every [*UnfitError].
	ErrUnfit = errors.New("the interface looks like one of the host's own")
	// ErrTakenOver means that another Demux was loaded from the same pins: it
	// runs the dataplane now, and this one may only read.
	ErrTakenOver = errors.New("taken over by another process")
	// ErrClosed means that the Demux was closed.
	ErrClosed = errors.New("demux is closed")
)

// BadMACError says what is wrong with an address. It wraps [ErrBadMAC].
type BadMACError struct {
	Text   string // the address as given
	Reason string // a clause: "it is zero"
}

func (e *BadMACError) Error() string {
	return fmt.Sprintf("%v %q: %s", ErrBadMAC, e.Text, e.Reason)
}

func (e *BadMACError) Unwrap() error { return ErrBadMAC }

// AssignedError says which worker a MAC has already. It wraps [ErrAssigned].
type AssignedError struct {
	Worker string // interface name
}

func (e *AssignedError) Error() string {
	return fmt.Sprintf("%v to %s", ErrAssigned, e.Worker)
}

func (e *AssignedError) Unwrap() error { return ErrAssigned }

// FullError means that no further MAC can be assigned; those that are assigned
// keep working. It wraps [ErrFull].
type FullError struct {
	Capacity int // the most assignments, see Options.Capacity
}

func (e *FullError) Error() string {
	return fmt.Sprintf("all %d assignments are in use: unassign a client, or load with a larger capacity", e.Capacity)
}

func (e *FullError) Unwrap() error { return ErrFull }
