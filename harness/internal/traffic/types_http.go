package traffic

import (
	"net/netip"
	"time"
)

// HTTPGetRequest asks for GET requests, one after another, each over a connection of its own.
type HTTPGetRequest struct {
	URL   string `json:"url"`
	Count int    `json:"count"`
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
	Body   string `json:"body"`
}

// HTTPServeRequest asks for an HTTP server that names itself in each answer.
type HTTPServeRequest struct {
	// Listen is the address and port; a zero address is every address, a zero port the kernel's choice.
	Listen netip.AddrPort `json:"listen"`
	// Name is the Server header and the body.
	Name string `json:"name"`
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
