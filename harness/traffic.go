package harness

import "github.com/vlandemux/vlandemux/harness/internal/traffic"

// What the sockets of clients and workers are asked to do, and what they report.
type (
	// PingRequest is for [Node.Ping].
	PingRequest = traffic.PingRequest
	// PingReport is what became of each echo request.
	PingReport = traffic.PingReport

	// UDPRequest is for [Node.UDP].
	UDPRequest = traffic.UDPRequest
	// UDPReport is what became of each datagram.
	UDPReport = traffic.UDPReport
	// UDPServeRequest is for [Node.ServeUDP].
	UDPServeRequest = traffic.UDPServeRequest

	// TCPRequest is for [Node.TCP].
	TCPRequest = traffic.TCPRequest
	// TCPMode says in which direction octets flow.
	TCPMode = traffic.TCPMode
	// TCPProgress is how far a connection is.
	TCPProgress = traffic.TCPProgress
	// TCPReport is what a connection has carried.
	TCPReport = traffic.TCPReport

	// HTTPGetRequest is for [Node.HTTPGet].
	HTTPGetRequest = traffic.HTTPGetRequest
	// HTTPGetReport is what was answered.
	HTTPGetReport = traffic.HTTPGetReport
	// HTTPServeRequest is for [Node.ServeHTTP].
	HTTPServeRequest = traffic.HTTPServeRequest
	// HTTPSeen is a request that a server has seen.
	HTTPSeen = traffic.HTTPSeen
)

// The modes of a TCP connection, as its client sees it.
const (
	Echo     = traffic.Echo
	Upload   = traffic.Upload
	Download = traffic.Download
)
