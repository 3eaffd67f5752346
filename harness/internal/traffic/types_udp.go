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
	// Count is the number of datagrams, at least 1.
	Count int `json:"count"`
	// Size is the number of octets in each datagram, 16 to 65507.
	Size int `json:"size"`
	// Timeout is how long to wait for an echo before the next datagram is sent; 0 means 1 s.
	Timeout time.Duration `json:"timeout,omitempty"`
	// Seed chooses the contents, so that two exchanges never look alike.
	Seed uint64 `json:"seed,omitempty"`
}

// UDPReport counts an exchange. A lost echo is no error: Lost tells. Wrong contents are an error.
type UDPReport struct {
	Local netip.AddrPort `json:"local"`
	// Sent and Received are datagrams; each received one was compared with what was sent.
	Sent       int `json:"sent"`
	Received   int `json:"received"`
	Duplicates int `json:"duplicates"`
	// Lost are the numbers (from 0) of the datagrams whose echo had not come when the exchange ended, in order.
	Lost []int `json:"lost,omitempty"`
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
