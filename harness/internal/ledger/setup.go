package ledger

import (
	"time"

	"github.com/vlandemux/vlandemux/harness/internal/probe"
	"github.com/vlandemux/vlandemux/harness/internal/topology"
)

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
