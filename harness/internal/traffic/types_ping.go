package traffic

import (
	"net/netip"
	"time"
)

// PingRequest asks for ICMP or ICMPv6 echo requests.
type PingRequest struct {
	Destination netip.Addr `json:"destination"`
	// Count is the number of requests, at least 1.
	Count int `json:"count"`
	// Interval is the time between two requests; 0 means 10 ms.
	Interval time.Duration `json:"interval,omitempty"`
	// Timeout is how long to wait for the missing replies after the last request; 0 means 1 s.
	Timeout time.Duration `json:"timeout,omitempty"`
}

// PingReport counts requests and replies. A reply that never came is no error: Received tells.
type PingReport struct {
	Sent       int `json:"sent"`
	Received   int `json:"received"`
	Duplicates int `json:"duplicates"`
}
