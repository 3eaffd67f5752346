package ledger

import (
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
	"github.com/vlandemux/vlandemux/harness/internal/drops"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
	"github.com/vlandemux/vlandemux/harness/internal/traffic"
)

// Tap is what one tap saw.
type Tap struct {
	// Name as in Setup.Taps.
	Name string
	// Report says what the tap may have missed.
	Report probe.TapReport
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
	// Journeys are all that the taps saw, frame by frame; a step's Tap is an index of Taps.
	Journeys iter.Seq2[[]probe.Step, error]
	Sent     []Sent
	// Sockets are the names of the clients and workers whose kernels or sockets
	// sent frames that no batch describes. What their taps saw leave is what was
	// sent. Any other frame without a batch is an error. Optional.
	Sockets []string
	// Before and After are the demux's counters.
	Before, After control.Counters
	// Assignments are what the demux lists after the window. Optional.
	Assignments []control.Assignment
	// Events returns the events that the demux raised in the window, once enough
	// says that they are all or once it can be known that no more will come. Optional.
	Events func(enough func([]control.Event) bool) []control.Event
	// EventsMissed says that the events were not watched all the time, as while
	// the demux was restarted: some may be missing.
	EventsMissed bool
	// ChecksumErrors is how many packets the nodes' stacks dropped in the window for a
	// wrong checksum, by node and counter. Optional.
	ChecksumErrors map[string]uint64
	// Capture gives the octets of a frame that a tap retained, for the trace of a
	// wrong frame. Optional.
	Capture func(tap string, fp probe.Fingerprint) ([]byte, bool)
	// Drops gives what the kernel has dropped in the window, for the traces of wrong frames. It is asked only if anything
	// is wrong. Optional.
	Drops func() drops.Report
}

// marked names the packets that left the demux with a mark or a priority: no rule of
// the host's may be chosen by what a client sends.
func (in *Input) marked() []string {
	var faults []string
	for i := range in.Taps {
		if r := &in.Taps[i].Report; r.Marked > 0 {
			faults = append(faults, fmt.Sprintf("%d packets with a mark or a priority crossed %s", r.Marked, in.Taps[i].Name))
		}
	}
	return faults
}

// badChecksums names the stacks that dropped what had a wrong checksum. Nobody sends
// that to a stack; and what arrives with a checksum unfinished says so, or is one.
func (in *Input) badChecksums() []string {
	var faults []string
	for _, counter := range slices.Sorted(maps.Keys(in.ChecksumErrors)) {
		if n := in.ChecksumErrors[counter]; n > 0 {
			faults = append(faults, fmt.Sprintf("%d packets were dropped for a wrong checksum: counter %s", n, counter))
		}
	}
	return faults
}

// trouble is why a tap cannot be believed, nil if it can. seen is how many
// sightings arrived.
func (t *Tap) trouble(seen uint64) error {
	if err := t.Report.Err(); err != nil {
		return err
	}
	if t.Report.Frames != seen {
		return fmt.Errorf("tap %s reports %d frames and handed over %d sightings", t.Name, t.Report.Frames, seen)
	}
	return nil
}
