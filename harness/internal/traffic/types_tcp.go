package traffic

import (
	"net/netip"
	"time"
)

// TCPMode says which way the checked octets flow, seen from the client.
type TCPMode string

// The modes of a TCP exchange.
const (
	Download TCPMode = "download"
	Upload   TCPMode = "upload"
	Echo     TCPMode = "echo"
)

// TCPRequest asks for one connection to a server started by ServeTCP.
type TCPRequest struct {
	Remote netip.AddrPort `json:"remote"`
	// Local is the local address and port; a zero address or port is the kernel's choice. Optional.
	Local netip.AddrPort `json:"local,omitzero"`
	Mode  TCPMode        `json:"mode"`
	// Octets is how many flow (in echo mode: each way).
	Octets uint64 `json:"octets"`
	// Rate paces the sending side, in octets per second; 0 is full speed.
	Rate uint64 `json:"rate,omitempty"`
	// Seed chooses the pattern, so that two streams never look alike.
	Seed uint64 `json:"seed,omitempty"`
	// ConnectTimeout is the longest the handshake may take; 0 means 5 s.
	ConnectTimeout time.Duration `json:"connect_timeout,omitempty"`
	// IdleTimeout ends the exchange once no octet has moved for that long; 0 means 10 s.
	IdleTimeout time.Duration `json:"idle_timeout,omitempty"`
	// ProgressEvery is the least time between two progress reports; 0 means 100 ms. The first comes with the first octets.
	ProgressEvery time.Duration `json:"progress_every,omitempty"`
}

// TCPProgress says how far an exchange has come.
type TCPProgress struct {
	Local netip.AddrPort `json:"local"`
	// Octets were verified so far (upload: written so far).
	Octets  uint64        `json:"octets"`
	Elapsed time.Duration `json:"elapsed"`
}

// TCPReport is the client's account of one exchange.
type TCPReport struct {
	Local  netip.AddrPort `json:"local"`
	Remote netip.AddrPort `json:"remote"`
	// Server is the name given to ServeTCP.
	Server string `json:"server"`
	// Sent and Received are octets of the pattern. Each received octet was compared; in an upload the server compared each one sent.
	Sent     uint64        `json:"sent"`
	Received uint64        `json:"received"`
	Elapsed  time.Duration `json:"elapsed"`
	// Retransmits are segments this side sent again (TCP_INFO); the server's are in its TCPServed.
	Retransmits uint32 `json:"retransmits"`
}

// TCPServeRequest asks for a server of checked streams: each connection tells it the mode, so one server does all of them.
type TCPServeRequest struct {
	// Listen is the address and port; a zero address is every address, a zero port the kernel's choice.
	Listen netip.AddrPort `json:"listen"`
	// Name is told to each client.
	Name string `json:"name"`
	// IdleTimeout ends a connection once no octet has moved for that long; 0 means 10 s.
	IdleTimeout time.Duration `json:"idle_timeout,omitempty"`
}

// TCPServed is the server's account of one connection that has ended.
type TCPServed struct {
	Local       netip.AddrPort `json:"local"`
	Remote      netip.AddrPort `json:"remote"`
	Mode        TCPMode        `json:"mode"`
	Sent        uint64         `json:"sent"`
	Received    uint64         `json:"received"`
	Elapsed     time.Duration  `json:"elapsed"`
	Retransmits uint32         `json:"retransmits"`
	// Error says why the connection ended early; empty otherwise.
	Error string `json:"error,omitempty"`
}

// TCPServeReport counts a server's life.
type TCPServeReport struct {
	Connections uint64 `json:"connections"`
	Sent        uint64 `json:"sent"`
	Received    uint64 `json:"received"`
}
