package demux

import (
	"cmp"
	"fmt"
	"time"
)

// DefaultCapacity is the capacity of a Demux whose Options name none.
const DefaultCapacity = 4096

// maxCapacity keeps the maps of one Demux within reason: about 170 octets a
// client, and 32 for each possible processor.
const maxCapacity = 1 << 20

// MaxPlaces is the most places that the assignments of a Demux with that capacity can name, all together.
func MaxPlaces(capacity int) int { return max(4*capacity, 1<<16) }

const maxGroupLimit = 1_000_000

// MaxAge is the longest Options.Age.
const MaxAge = 240 * time.Hour

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

// RedirectMode is where a frame for a worker is put.
type RedirectMode string

const (
	// RedirectInterface sends it on the worker's interface.
	RedirectInterface RedirectMode = "interface"
	// RedirectPeer hands it to the other end of a worker that is a veth with that end in another network namespace
	// (bpf_redirect_peer), and sends it on the interface of any other worker.
	//
	// A frame costs less then, since it does not wait in the queue of the other end. What is at the host's end does not see
	// it: packet sockets (tcpdump), programs and qdiscs at egress, counters, and settings of its offloads. At the other end,
	// XDP in the driver, GRO and RPS do not see it (programs and filters at ingress do), and the kernel does not compare
	// its destination address with that of the interface: IP takes every unicast frame for its own; newer
	// kernels (6.1.192, 6.12.117 and 6.18 among them) tell packet sockets PACKET_HOST of broadcasts and multicasts too.
	//
	// When the other end is moved to another namespace, it is down until somebody sets it up there, and its clients have no
	// worker meanwhile. What comes before the demux is told of it counts as delivered and is lost, as of any worker that goes.
	RedirectPeer RedirectMode = "peer"
)

// EarlyDropMode is where frames of unknown MACs are dropped.
type EarlyDropMode string

const (
	// EarlyDropOff drops them at tc, as all that is dropped.
	EarlyDropOff EarlyDropMode = "off"
	// EarlyDropXDP drops them in the trunk's driver (native XDP), before the kernel makes packets of them, where the tag is in
	// the page: the driver must not take it out (ethtool -K eth1 rxvlan off). All other frames go on to tc, and so do these where
	// the driver takes the tag out. What is counted and told of a drop is the same, but of a frame with two tags whose outer
	// one was taken out: 4 octets less, and the inner tag's place. A TAP may hand over a super-packet, which counts as one frame.
	//
	// A frame costs less then from a driver that hands pages to XDP, and more from a socket over a veth: it copies each frame into
	// a page, segments super-packets before, and does not keep the order of what several processors send. Taps on the trunk do
	// not see what is dropped. A driver may stop its queues for a moment when the program comes or goes.
	//
	// It takes Unknown "drop", a driver with native XDP on each trunk, and no other XDP program there: [Load] and
	// [Demux.AttachTrunk] fail otherwise. An earlier build that takes over takes it off.
	EarlyDropXDP EarlyDropMode = "xdp"
)

// Options configure [Load].
type Options struct {
	// Capacity is the most assignments there can be. Optional: what is pinned keeps
	// its capacity, the default is [DefaultCapacity].
	Capacity int
	// Untagged is what happens to untagged frames on a trunk. Optional: what is
	// pinned keeps its policy, the default is [UntaggedDrop].
	Untagged UntaggedPolicy
	// Unknown is what happens to tagged frames of MACs without a worker: "drop"
	// (counted as "unknown_client"), "pass" (they are left to the stack, with the tag: without an
	// interface for the VLAN the kernel takes it off, and its IP stack drops them) or the
	// name of a worker that gets them, see [Demux.SetDefaultWorker]. Optional: what is pinned
	// keeps its policy, the default is "drop".
	Unknown string
	// GroupLimit is how many group frames a second a worker may send; those of one
	// second may come at once. Optional: what is pinned keeps its limit, the default is no
	// limit, and so is a negative number.
	GroupLimit int
	// Age is how long a location is kept while its client sends nothing, in whole seconds: see
	// [Demux.ForgetUnused]. Optional: what is pinned keeps its age, the default is for ever, and so is
	// a negative one.
	Age time.Duration
	// Redirect is where frames for workers are put. Optional: what is pinned keeps its mode, the default is
	// [RedirectInterface]. When a Load with RedirectPeer takes over from one without, frames that are under way then may
	// come after later ones.
	Redirect RedirectMode
	// EarlyDrop is where frames of unknown MACs are dropped. Optional: what is pinned keeps its mode, the default is
	// [EarlyDropOff].
	EarlyDrop EarlyDropMode
	// Attach forces a way to attach. Optional, default [AttachAuto].
	Attach AttachMode
	// PinPath is the folder in a BPF file system that holds maps and links, so
	// that they outlive the process. Optional: without it everything goes
	// with the process, except clsact filters if it dies without Close.
	PinPath string
}

// complete sets what is not given and was not remembered, and checks what excludes each other.
func (o *Options) complete() error {
	o.Capacity = cmp.Or(o.Capacity, DefaultCapacity)
	o.Untagged = cmp.Or(o.Untagged, UntaggedDrop)
	o.Unknown = cmp.Or(o.Unknown, UnknownDrop)
	o.Redirect = cmp.Or(o.Redirect, RedirectInterface)
	o.EarlyDrop = cmp.Or(o.EarlyDrop, EarlyDropOff)
	o.Attach = cmp.Or(o.Attach, AttachAuto)
	if o.EarlyDrop == EarlyDropXDP && o.Unknown != UnknownDrop {
		return fmt.Errorf("dropping unknown MACs in the trunk's driver, and giving them to %q: one excludes the other, give --unknown drop or --early-drop off", o.Unknown)
	}
	return nil
}

// The values of Options.Unknown that are no worker.
const (
	UnknownDrop = "drop"
	UnknownPass = "pass"
)

func unknownPolicy(unknown string) uint32 {
	switch unknown {
	case UnknownDrop:
		return uint32(bpfUnknownPolicyUNKNOWN_DROP)
	case UnknownPass:
		return uint32(bpfUnknownPolicyUNKNOWN_PASS)
	}
	return uint32(bpfUnknownPolicyUNKNOWN_WORKER)
}

// groupInterval is how many nanoseconds are between two frames of the limit.
func groupInterval(limit int) uint64 {
	if limit <= 0 {
		return 0
	}
	return uint64(time.Second) / uint64(limit)
}

// bits are the options as the owner's record has them.
func (o *Options) bits() uint64 {
	bits := uint64(max(o.GroupLimit, 0)) << bpfOptionGroupLimitShift
	bits |= uint64(max(o.Age, 0)/time.Second) << bpfOptionAgeShift
	if o.Untagged == UntaggedPass {
		bits |= bpfOptionPassUntagged
	}
	if o.Redirect == RedirectPeer {
		bits |= bpfOptionRedirectPeer
	}
	if o.EarlyDrop == EarlyDropXDP {
		bits |= bpfOptionEarlyDrop
	}
	switch unknownPolicy(o.Unknown) {
	case uint32(bpfUnknownPolicyUNKNOWN_PASS):
		bits |= bpfOptionPassUnknown
	case uint32(bpfUnknownPolicyUNKNOWN_WORKER):
		bits |= bpfOptionUnknownWorker
	}
	return bits
}

// remember takes the options that are not given from an owner's record.
func (o *Options) remember(bits uint64, defaultWorker string) {
	if o.Untagged == "" && bits&bpfOptionPassUntagged != 0 {
		o.Untagged = UntaggedPass
	}
	if o.Redirect == "" && bits&bpfOptionRedirectPeer != 0 {
		o.Redirect = RedirectPeer
	}
	if o.EarlyDrop == "" && bits&bpfOptionEarlyDrop != 0 {
		o.EarlyDrop = EarlyDropXDP
	}
	switch {
	case o.Unknown != "":
	case bits&bpfOptionPassUnknown != 0:
		o.Unknown = UnknownPass
	case bits&bpfOptionUnknownWorker != 0:
		o.Unknown = defaultWorker
	}
	if o.Age == 0 {
		o.Age = time.Duration(bits>>bpfOptionAgeShift&bpfOptionAgeMask) * time.Second
	}
	if o.GroupLimit == 0 {
		o.GroupLimit = int(bits >> bpfOptionGroupLimitShift)
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
	if o.GroupLimit > maxGroupLimit {
		return fmt.Errorf("limit of %d group frames a second: %d at most is possible", o.GroupLimit, maxGroupLimit)
	}
	if o.Age > 0 && (o.Age > MaxAge || o.Age%time.Second != 0) {
		return fmt.Errorf("location age %v: whole seconds up to %v are possible", o.Age, MaxAge)
	}
	switch o.Redirect {
	case "", RedirectInterface, RedirectPeer:
	default:
		return fmt.Errorf("redirect mode %q: %q or %q is possible", o.Redirect, RedirectInterface, RedirectPeer)
	}
	switch o.EarlyDrop {
	case "", EarlyDropOff, EarlyDropXDP:
	default:
		return fmt.Errorf("early drop %q: %q or %q is possible", o.EarlyDrop, EarlyDropOff, EarlyDropXDP)
	}
	switch o.Attach {
	case "", AttachAuto, AttachTCX, AttachClsact:
	default:
		return fmt.Errorf("attach mode %q: %q, %q or %q is possible", o.Attach, AttachAuto, AttachTCX, AttachClsact)
	}
	return nil
}
