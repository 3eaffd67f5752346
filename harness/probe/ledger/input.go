package ledger

import (
	"fmt"
	"iter"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
	"github.com/vlandemux/vlandemux/harness/probe"
	"github.com/vlandemux/vlandemux/harness/traffic"
)

// Tap is what one tap saw.
type Tap struct {
	// Name as in Lab.Taps.
	Name string
	// Report is the tap's own account of what it may have missed.
	Report probe.TapReport
	// Sightings in the order the tap saw them.
	Sightings iter.Seq2[probe.Sighting, error]
}

// Sent is one batch that was sent.
type Sent struct {
	// Tap is the interface the frames left on: "c0/eth0", "w1/eth0", or any other
	// of the lab's for frames injected there, such as "switch/trunk0".
	Tap   string
	Batch probe.Batch
	// Report of the sender. It must say that every frame was sent.
	Report traffic.BatchReport
}

// Input is everything a lab said about one window of time. Taps began before the
// first frame and ended after the last; the counters were read outside of the two.
type Input struct {
	Taps []Tap
	Sent []Sent
	// Sockets are the names of the clients and workers whose kernels or sockets
	// sent frames that no batch describes. What their taps saw leave is what was
	// sent. Any other frame without a batch is an error. Optional.
	Sockets []string
	// Before and After are the demux's counters.
	Before, After control.Counters
	// Capture gives the octets of a frame that a tap retained, for the account of a
	// wrong frame. Optional.
	Capture func(tap string, fp probe.Fingerprint) ([]byte, bool)
}

// tapTrouble is why a tap cannot be believed, "" if it can. seen is how many
// sightings arrived.
func tapTrouble(t *Tap, seen int) string {
	r := &t.Report
	switch {
	case r.Dropped > 0:
		return fmt.Sprintf("the tap lost %d packets: give it a larger ring, or send slower", r.Dropped)
	case r.Undecoded > 0:
		return fmt.Sprintf("the tap could not turn %d packets into frames, the first because %s", r.Undecoded, r.UndecodedReason)
	case r.Frames != uint64(seen):
		return fmt.Sprintf("the tap reports %d frames and handed over %d sightings", r.Frames, seen)
	}
	return ""
}
