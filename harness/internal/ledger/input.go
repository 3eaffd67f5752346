package ledger

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
	"github.com/vlandemux/vlandemux/harness/internal/drops"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
	"github.com/vlandemux/vlandemux/harness/internal/topology"
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

// Location is where the demux had seen a MAC.
type Location struct {
	Trunk int // its number
	Tag   probe.Tag
}

// Move is one client taken to another place. Between Start and End, in
// nanoseconds since 1970 on the clock of the taps, its port may be at either place
// or at none.
type Move struct {
	Client     string
	To         topology.Place
	Start, End int64
}

// Change is one change of an assignment. Between Start (the call began) and End
// (it returned), in nanoseconds since 1970 on the clock of the taps, either may hold.
type Change struct {
	MAC        probe.MAC
	Worker     string // "" takes the assignment away
	Start, End int64
}

// Outage is the end of a worker. Until Start (its container was killed) it was there, from
// End on (the demux knows) it is not; in between its link may have carried a frame or not.
type Outage struct {
	Worker     string
	Start, End int64
}

// TrunkChange says that the switch's end of a trunk went down or came up. Between Start and End, in
// nanoseconds since 1970 on the clock of the taps, either may hold.
type TrunkChange struct {
	Trunk      int
	Up         bool
	Start, End int64
}

// Setup is what a ledger has to know of a lab: plain data. The zero value of each
// optional field stands for what a new lab has.
type Setup struct {
	// Trunks is how many there are. The taps of trunk0 are "switch/trunk0" and
	// "host/trunk0".
	Trunks int
	// Clients at their places when the taps began. The taps of c0 are "c0/eth0" and
	// "switch/c0".
	Clients []topology.Client
	// Workers are what frames are handed to. The taps of w0 are "host/w0" and "w0/eth0".
	Workers []topology.Worker
	// Assignments when the taps began: the worker of each MAC.
	Assignments map[probe.MAC]string
	// Allowed are the places where the demux lets a MAC be, whenever it has a worker. Optional: those
	// that are not named may be anywhere.
	Allowed map[probe.MAC][]topology.Place
	// PassUntagged says that the demux leaves untagged frames to the host's stack.
	PassUntagged bool
	// Unknown is what the demux does with tagged frames of MACs without a worker: "pass" leaves
	// them to the host's stack, a worker's name gives them to it. Optional: they are dropped.
	Unknown string
	// GroupLimit is how many group frames a second each worker may send. Optional: any number.
	GroupLimit int
	// RedirectPeer says that the demux hands frames to the other ends of workers' veths that are in another network namespace, so
	// that no tap at the host's end may see them. Optional.
	RedirectPeer bool
	// EarlyDrop says that the demux drops tagged frames of MACs without a worker in the trunk's driver, so that no tap at the host's
	// end may see them. It is for frames that are injected at trunks, with their tags in the data, and not for clients without a worker. Optional.
	EarlyDrop bool
	// TrunkMTU is that of every trunk. Optional: every frame of the lab fits.
	TrunkMTU int
	// Age is how long the demux keeps the location of a client that sends nothing. All that it
	// forgets it must forget while the taps run. Optional: for ever.
	Age time.Duration
	// Learned are the locations that the demux knew when the taps began, as Verdict.Learned
	// of the window before has them. Where a MAC has several, the demux knew one of them. Optional.
	Learned map[probe.MAC][]Location
	// SwitchKnows says that the switch may have learned ports before the taps
	// began: its first frame to each MAC may be flooded or not. Optional.
	SwitchKnows bool
	// Moves and Changes while the taps ran, in any order. Those of one client, or
	// of one MAC, must not overlap. Optional.
	Moves   []Move
	Changes []Change
	// Outages while the taps ran, one of each worker at most. Optional.
	Outages []Outage
	// TrunkChanges since the lab was started. Optional: every trunk is up.
	TrunkChanges []TrunkChange
	// Reference is what the dataplane has to do with frames, if that is not what vlandemux
	// does. There are no counters, assignments and events then. Optional.
	Reference Reference
}
