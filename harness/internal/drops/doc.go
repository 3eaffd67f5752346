// Package drops listens to the packets that the kernel drops in the network
// namespaces of a lab and tells why, in the kernel's own words (enum
// skb_drop_reason) and by the function that dropped each.
//
// A small BPF program at the tracepoint skb:kfree_skb counts the drops by
// interface, reason and function, and copies the beginning of the first packets of each kind. Nothing
// is read from the kernel until somebody asks.
package drops

// Drop is one packet that the kernel has dropped. It is plain data.
type Drop struct {
	// Time is when, in nanoseconds since 1970.
	Time int64 `json:"time"`
	Kind
	// Length of the packet in octets, from its MAC header if it has one, without accelerated tag.
	Length int `json:"length"`
	// Segment is the payload octets of each frame of a super-packet, 0 for any other packet.
	Segment int `json:"segment,omitempty"`
	// Octets are the first of the packet, from its MAC header on, as far as they are copied. None for a packet without MAC header.
	Octets []byte `json:"octets,omitempty"`
}

// Kind is where and why packets were dropped.
type Kind struct {
	// Node is the name of the namespace, as Watch was told it.
	Node string `json:"node"`
	// Interface of that namespace that the packet was on, "" where the kernel did not know any more.
	Interface string `json:"interface,omitempty"`
	// Reason is the kernel's, such as "TC_INGRESS"; "NOT_SPECIFIED" where it gives none.
	Reason string `json:"reason"`
	// Function of the kernel that dropped it.
	Function string `json:"function"`
}

// Place is the interface as taps name it, "host/w0".
func (k Kind) Place() string {
	if k.Interface == "" {
		return k.Node
	}
	return k.Node + "/" + k.Interface
}

// String is "host/w0: reason DEV_READY in dev_queue_xmit".
func (k Kind) String() string {
	return k.Place() + ": reason " + k.Reason + " in " + k.Function
}

// Total is how many packets of one kind were dropped.
type Total struct {
	Kind
	Packets uint64 `json:"packets"`
	// Copied is how many of them are among the report's drops. Of each kind, the first MostCopied are copied.
	Copied uint64 `json:"copied"`
	// Lost is how many were to be copied and found no room.
	Lost uint64 `json:"lost,omitempty"`
}

// Report is what was dropped since the last Reset.
type Report struct {
	// Unavailable is why nothing is known of any drop, "" if all is.
	Unavailable string  `json:"unavailable,omitempty"`
	Drops       []Drop  `json:"drops,omitempty"` // in order of time
	Totals      []Total `json:"totals,omitempty"`
	// Uncounted is how many drops are in no total, since there were too many kinds.
	Uncounted uint64 `json:"uncounted,omitempty"`
}

// MostCopied is how many packets of each kind are copied.
const MostCopied = 1024
