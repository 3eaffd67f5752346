package harness

import (
	"context"
	"fmt"
	"io/fs"
	"time"

	"github.com/vlandemux/vlandemux/harness/internal/drops"
	"github.com/vlandemux/vlandemux/harness/internal/fault"
	"github.com/vlandemux/vlandemux/harness/internal/ledger"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
	"github.com/vlandemux/vlandemux/harness/internal/traffic"
)

// What a scenario sends and what becomes of it.
type (
	// Batch is a number of frames that differ in nothing but their IDs.
	Batch = probe.Batch
	// Tag is a VLAN tag of a frame.
	Tag = probe.Tag
	// Flow makes a batch's frames IP packets of one UDP or TCP flow.
	Flow = probe.Flow
	// GSO hands a flow to the kernel in super-packets.
	GSO = probe.GSO
	// Frame is one frame of a capture.
	Frame = probe.Frame
	// Verdict is what the ledger found in a window.
	Verdict = ledger.Verdict
	// TracedHop is a tap that a wrong frame crossed, or should have.
	TracedHop = ledger.TracedHop
	// WrongFrame is one frame of a verdict that was not where it had to be.
	WrongFrame = ledger.WrongFrame
)

// Sizes of frames in octets without FCS and VLAN tags.
const (
	MinFrame = probe.MinFrame
	MaxFrame = probe.MaxFrame

	// EthernetHeader is what a frame has beside what an MTU counts.
	EthernetHeader = 14
)

// Protocols of a [Flow].
const (
	UDP = probe.UDP
	TCP = probe.TCP
)

// ReadCaptures reads all captures of a folder and names the other files, which it skips.
func ReadCaptures(folder fs.FS) (frames []Frame, skipped []string, err error) {
	return probe.ReadCaptures(folder)
}

// EmbeddedCaptures is the folder of the project's own captures.
func EmbeddedCaptures() fs.FS { return probe.EmbeddedCaptures() }

// HeldLimits are the limits of a verdict's histograms of time, 1 µs to 10 s.
func HeldLimits() []time.Duration {
	limits := ledger.HeldLimits()
	return limits[:]
}

// Fault breaks one frame that leaves an interface, or the interface.
type Fault = fault.Fault

// The kinds of a [Fault].
const (
	FaultDrop    = fault.Drop
	FaultDouble  = fault.Double
	FaultCorrupt = fault.Corrupt
	FaultDelay   = fault.Delay // its By is how long
	FaultDown    = fault.Down  // of the interface itself
	FaultMTU     = fault.MTU   // its MTU
)

// Fault breaks one of the frames that leave an interface of the lab, or the interface, by the name of its
// tap, such as "switch/trunk0". The ledger is not told: it has to find it.
func (w *Window) Fault(ctx context.Context, tap string, f Fault) error {
	point, there := w.points[tap]
	if !there {
		return fmt.Errorf("installing a fault at %s: the lab has no such interface", tap)
	}
	return w.lab.host.agent.Fault(ctx, point, f)
}

// drops is what the kernel has dropped in the lab's namespaces since the last window was opened.
func (l *Lab) drops(ctx context.Context) drops.Report {
	report, err := l.host.agent.Drops(ctx)
	if err != nil {
		report.Unavailable = err.Error() // the verdict counts, with or without
	}
	return report
}

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
