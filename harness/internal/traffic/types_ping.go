package traffic

import (
	"net/netip"
	"time"
)

// PingRequest asks for ICMP or ICMPv6 echo requests.
type PingRequest struct {
	Destination netip.Addr `json:"destination"`
	// Source is the local address. Optional: the kernel chooses.
	Source netip.Addr `json:"source,omitzero"`
	// Count is the number of requests; 0 means 1.
	Count int `json:"count,omitempty"`
	// Interval is the time between two requests; 0 means 10 ms.
	Interval time.Duration `json:"interval,omitempty"`
	// Timeout is how long to wait for the missing replies after the last request; 0 means 1 s.
	Timeout time.Duration `json:"timeout,omitempty"`
	// Size is the number of octets behind the ICMP header, 8 to 65499; 0 means 56.
	Size int `json:"size,omitempty"`
}

// PingReport counts requests and replies. A reply that never came is no error: Received tells.
type PingReport struct {
	Sent       int         `json:"sent"`
	Received   int         `json:"received"`
	Duplicates int         `json:"duplicates"`
	Replies    []PingReply `json:"replies"`
}

// PingReply is one echo reply, in the order of arrival.
type PingReply struct {
	Sequence  int           `json:"sequence"`
	From      netip.Addr    `json:"from"`
	RTT       time.Duration `json:"rtt"`
	Octets    int           `json:"octets"`
	TTL       int           `json:"ttl"`
	Duplicate bool          `json:"duplicate,omitempty"`
}
