package traffic

import (
	"net/netip"
	"time"
)

// HTTPGetRequest asks for GET requests, one after another.
type HTTPGetRequest struct {
	URL string `json:"url"`
	// Count is the number of requests; 0 means 1.
	Count int `json:"count,omitempty"`
	// Local is the local address and port; a zero address or port is the kernel's choice. A chosen port is used again by each connection. Optional.
	Local netip.AddrPort `json:"local,omitzero"`
	// KeepAlive sends all requests over one connection; otherwise each has its own.
	KeepAlive bool `json:"keep_alive,omitempty"`
	// Timeout is the longest one request may take; 0 means 5 s.
	Timeout time.Duration `json:"timeout,omitempty"`
}

// HTTPGetReport holds the replies in the order asked; the requests stop at the first that fails.
type HTTPGetReport struct {
	Replies []HTTPReply `json:"replies"`
}

// HTTPReply is one answer.
type HTTPReply struct {
	Status int `json:"status"`
	// Server is the Server header: the name given to ServeHTTP.
	Server string `json:"server"`
	// Body is the start of the body, 4096 octets at most.
	Body string `json:"body"`
	// Octets is the length of the whole body, which was read to its end.
	Octets   int64          `json:"octets"`
	Local    netip.AddrPort `json:"local"`
	Remote   netip.AddrPort `json:"remote"`
	Duration time.Duration  `json:"duration"`
}

// HTTPServeRequest asks for an HTTP server that names itself in each answer.
type HTTPServeRequest struct {
	// Listen is the address and port; a zero address is every address, a zero port the kernel's choice.
	Listen netip.AddrPort `json:"listen"`
	// Name is the Server header and the first line of each body.
	Name string `json:"name"`
	// BodySize is the least number of octets in a body; shorter ones are filled up.
	BodySize int `json:"body_size,omitempty"`
}

// HTTPSeen is one request as the server saw it.
type HTTPSeen struct {
	Time   time.Time      `json:"time"`
	Method string         `json:"method"`
	Path   string         `json:"path"`
	Remote netip.AddrPort `json:"remote"`
	Local  netip.AddrPort `json:"local"`
	// Octets is the length of the body it answered with.
	Octets int `json:"octets"`
}

// HTTPServeReport counts a server's life.
type HTTPServeReport struct {
	Requests uint64 `json:"requests"`
}
