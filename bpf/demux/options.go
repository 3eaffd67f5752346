package demux

import "fmt"

// DefaultCapacity is the capacity of a Demux whose Options name none.
const DefaultCapacity = 4096

// maxCapacity keeps the maps of one Demux within reason: about 100 octets a
// client and processor.
const maxCapacity = 1 << 20

// AttachMode is how a program is attached to an interface. While a clsact qdisc
// is added to or removed from an interface, the kernel drops what is being
// transmitted on it: prefer TCX for attaching and detaching under traffic.
type AttachMode string

const (
	// AttachAuto takes TCX where the kernel has it (6.6), else clsact.
	AttachAuto AttachMode = "auto"
	// AttachTCX takes a TCX link, which goes with the last process or pin that holds it.
	AttachTCX AttachMode = "tcx"
	// AttachClsact takes a clsact filter with direct action.
	AttachClsact AttachMode = "clsact"
)

// UntaggedPolicy is what happens to a frame that has no VLAN tag on a trunk.
type UntaggedPolicy string

const (
	// UntaggedDrop drops it, counted as "untagged".
	UntaggedDrop UntaggedPolicy = "drop"
	// UntaggedPass leaves it to the stack, for an interface with other traffic.
	UntaggedPass UntaggedPolicy = "pass"
)

// Options configure [Load].
type Options struct {
	// Capacity is the most assignments there can be. Optional: what is pinned keeps
	// its capacity, the default is [DefaultCapacity].
	Capacity int
	// Untagged is what happens to untagged frames on a trunk. Optional: what is
	// pinned keeps its policy, the default is [UntaggedDrop].
	Untagged UntaggedPolicy
	// Attach forces a way to attach. Optional, default [AttachAuto].
	Attach AttachMode
	// PinPath is the folder in a BPF file system that holds maps and links, so
	// that they outlive the process. Optional: without it everything goes
	// with the process, except clsact filters if it dies without Close.
	PinPath string
}

// complete sets what is not given and was not remembered.
func (o *Options) complete() {
	if o.Capacity == 0 {
		o.Capacity = DefaultCapacity
	}
	if o.Untagged == "" {
		o.Untagged = UntaggedDrop
	}
	if o.Attach == "" {
		o.Attach = AttachAuto
	}
}

func (o *Options) check() error {
	if o.Capacity < 0 || o.Capacity > maxCapacity {
		return fmt.Errorf("capacity %d: between 1 and %d is possible", o.Capacity, maxCapacity)
	}
	switch o.Untagged {
	case "", UntaggedDrop, UntaggedPass:
	default:
		return fmt.Errorf("untagged policy %q: %q or %q is possible", o.Untagged, UntaggedDrop, UntaggedPass)
	}
	switch o.Attach {
	case "", AttachAuto, AttachTCX, AttachClsact:
	default:
		return fmt.Errorf("attach mode %q: %q, %q or %q is possible", o.Attach, AttachAuto, AttachTCX, AttachClsact)
	}
	return nil
}
