package probe

import (
	"errors"
	"fmt"
)

// TapPoint names an interface to tap.
type TapPoint struct {
	// Name in reports, such as "c0/eth0", "switch/trunk0" or "host/w0".
	Name string `json:"name"`
	// Namespace is the network namespace of this name in a lab, "" for the host's. A tap is opened in it. Optional.
	Namespace string `json:"namespace,omitempty"`
	// Interface is the name within that namespace.
	Interface string `json:"interface"`
	// MAC is its address. Optional: not known.
	MAC MAC `json:"mac,omitzero"`
	// EtherTypes make the tap one of what goes on to the stack of the namespace, on
	// whichever interface it came in: packets of these EtherTypes that no program at
	// tc ingress dropped or redirected, without their outer tag. Such a tap has no
	// Interface. More are added by [Tap.Watch]. Optional.
	EtherTypes []uint16 `json:"ether_types,omitempty"`
	// Except is an interface of that namespace whose packets such a tap leaves out. Optional.
	Except string `json:"except,omitempty"`
	// Marks counts the packets that cross the interface in this direction with a mark or
	// a priority. Optional.
	Marks Direction `json:"marks,omitempty"`
	// MaxPacket is the octets of the largest packet that can cross it, a
	// super-packet whole. Where all are small, so is the tap's ring. Optional: 64 KiB.
	MaxPacket int `json:"max_packet,omitempty"`
	// SCTPSegment is the most octets that a segment of SCTP has with its IP header. With it, super-packets of SCTP are
	// shown too, in a ring of their own. Optional: they count as dropped.
	SCTPSegment int `json:"sctp_segment,omitempty"`
}

// String is the point's name, or its interface where it has none.
func (p TapPoint) String() string {
	if p.Name != "" {
		return p.Name
	}
	return p.Interface
}

// TapOptions are how an interface is tapped. The zero value does for a lab.
type TapOptions struct {
	// RingSize in octets, memory that the kernel allocates at once. It is not
	// locked and so counts against no limit of the process. Optional: 4 MiB where
	// every packet is small and for super-packets of SCTP, else 16 MiB.
	RingSize int
	// Spares are where a tap's rings come from and go to. Optional: they are its own.
	Spares *Spares
	// RetainBytes is how many octets of frames, from the first one, are kept whole
	// for [Tap.Retained]. Optional: 2 MiB; below 0: none.
	RetainBytes int
}

// TapReport is what a tap has to say at its end. It is plain data.
type TapReport struct {
	Point TapPoint `json:"point"`
	// Frames is the wire frames seen.
	Frames uint64 `json:"frames"`
	// Packets is what the kernel counted for the socket, super-packets once,
	// those it dropped included.
	Packets uint64 `json:"packets"`
	// Longest is the octets of the longest of them that was read, a super-packet whole.
	Longest int `json:"longest"`
	// Read is the packets that arrived in the ring.
	Read uint64 `json:"read"`
	// Dropped is packets the tap lost: with any, the ledger is inconclusive. Either the
	// ring was full, or the kernel could not describe a super-packet: before 6.2
	// it drops those of UDP, and without SCTPSegment those of SCTP.
	Dropped uint64 `json:"dropped"`
	// Undecoded is packets that could not be turned into wire frames, such as a
	// super-packet of an unknown protocol: with any, the ledger is inconclusive.
	Undecoded uint64 `json:"undecoded"`
	// UndecodedReason is why, of the first one.
	UndecodedReason string `json:"undecoded_reason,omitempty"`
	// Marked is the packets that crossed with a mark or a priority, where the point
	// asks for Marks.
	Marked uint64 `json:"marked,omitempty"`
	// Down is how often the interface was found down while tapped.
	Down int `json:"down"`
}

// Err is nil for a tap that saw everything. Otherwise it says what the tap missed:
// then the ledger is inconclusive, and no frame is reported as lost.
func (r TapReport) Err() error {
	var errs []error
	if r.Dropped > 0 {
		errs = append(errs, fmt.Errorf("tap %s lost %d of %d packets: its ring was full (slow the senders down, or enlarge RingSize), "+
			"or UDP super-packets crossed it on a kernel before 6.2 (switch tx-udp-segmentation off)", r.Point, r.Dropped, r.Packets))
	}
	if missing := int64(r.Packets - r.Dropped - r.Read); missing != 0 {
		errs = append(errs, fmt.Errorf("tap %s read %d packets, the kernel counted %d and dropped %d",
			r.Point, r.Read, r.Packets, r.Dropped))
	}
	if r.Undecoded > 0 {
		errs = append(errs, fmt.Errorf("tap %s could not turn %d of %d packets into wire frames, the first because of: %s",
			r.Point, r.Undecoded, r.Packets, r.UndecodedReason))
	}
	return errors.Join(errs...)
}
