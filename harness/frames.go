package harness

import (
	"io/fs"
	"time"

	"github.com/vlandemux/vlandemux/harness/internal/ledger"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
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
