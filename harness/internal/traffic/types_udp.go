package traffic

import (
	"net/netip"
	"time"
)

// UDPRequest asks for datagrams to an echo server started by ServeUDP.
type UDPRequest struct {
	Remote netip.AddrPort `json:"remote"`
	// Local is the local address and port; a zero address or port is the kernel's choice. Optional.
	Local netip.AddrPort `json:"local,omitzero"`
	// Count is the number of datagrams; 0 means 1.
	Count int `json:"count,omitempty"`
	// Size is the number of octets in each datagram, 16 to 65507; 0 means 64.
	Size int `json:"size,omitempty"`
	// Segments hands that many datagrams to the kernel in one call, to be cut up by UDP_SEGMENT; 0 and 1 send them one by one.
	Segments int `json:"segments,omitempty"`
	// Interval is the time between two sends, whether or not the echoes came; 0 sends the next when the echoes are there or given up.
	Interval time.Duration `json:"interval,omitempty"`
	// Timeout is how long to wait for an echo before the next send (without Interval), and after the last; 0 means 1 s.
	Timeout time.Duration `json:"timeout,omitempty"`
	// Seed chooses the contents, so that two exchanges never look alike.
	Seed uint64 `json:"seed,omitempty"`
}

// UDPReport counts an exchange. A lost echo is no error: Lost tells. Wrong contents are an error.
type UDPReport struct {
	Local  netip.AddrPort `json:"local"`
	Remote netip.AddrPort `json:"remote"`
	// Sent and Received are datagrams, Octets those of the received ones; each was compared with what was sent.
	Sent       int    `json:"sent"`
	Received   int    `json:"received"`
	Octets     uint64 `json:"octets"`
	Duplicates int    `json:"duplicates"`
	// Lost are the numbers (from 0) of the datagrams whose echo had not come when the exchange ended, in order.
	Lost    []int         `json:"lost,omitempty"`
	Elapsed time.Duration `json:"elapsed"`
}

// UDPServeRequest asks for an echo server.
type UDPServeRequest struct {
	// Listen is the address and port; a zero port is the kernel's choice. On a zero address, which is every address, echoes leave from the
	// one that the kernel's routes prefer.
	Listen netip.AddrPort `json:"listen"`
}

// UDPPeer is a peer the echo server heard for the first time.
type UDPPeer struct {
	Time   time.Time      `json:"time"`
	Remote netip.AddrPort `json:"remote"`
}

// UDPServeReport counts a server's life.
type UDPServeReport struct {
	Datagrams uint64 `json:"datagrams"`
	Octets    uint64 `json:"octets"`
	// Failed are datagrams whose echo could not be sent; FirstError says why of the first.
	Failed     uint64 `json:"failed"`
	FirstError string `json:"first_error,omitempty"`
}
