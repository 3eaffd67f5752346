package control

import (
	"time"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

// Status describes one running demux.
type Status struct {
	// Version of the program, as `vlandemux version` prints it.
	Version string `json:"version"`
	// PID of the process that answers, in its own PID namespace.
	PID int `json:"pid"`
	// Started is when that process began to serve. The dataplane may be older: it survives its process.
	Started time.Time `json:"started"`
	// UptimeSeconds is how long ago that was, however the clock was set since.
	UptimeSeconds int `json:"uptime_seconds"`
	// Kernel is the kernel release, e.g. "6.12.48".
	Kernel string `json:"kernel"`
	// BPFFS is the folder that holds the pinned maps and links. Empty when nothing is pinned.
	BPFFS string `json:"bpffs"`
	// Trunks are the interfaces on which tagged frames arrive, by index.
	Trunks []Interface `json:"trunks"`
	// Workers are the interfaces that frames are handed to, by index.
	Workers []Interface `json:"workers"`
	// Capacity is how many MACs can be assigned at once.
	Capacity int `json:"capacity"`
	// Assigned is how many are.
	Assigned int `json:"assigned"`
	// Untagged is what happens to frames without a tag on a trunk: "drop" or "pass".
	Untagged string `json:"untagged"`
	// Unknown is what happens to tagged frames of MACs without a worker: "drop", "pass" or the name of the worker that gets them.
	Unknown string `json:"unknown"`
	// GroupLimit is how many group frames a second a worker may send, 0 for no limit.
	GroupLimit int `json:"group_limit"`
	// AgeSeconds is after how many seconds without a frame of the client its location is forgotten, 0 for never.
	AgeSeconds int `json:"age_seconds"`
	// Following is how the kernel's messages about interfaces are followed.
	Following Following `json:"following"`
	// Problems are what will lose more than frames, each a sentence for people; those of an interface are with it.
	Problems []string `json:"problems,omitempty"`
}

// Following says how often the kernel had to drop messages about interfaces, because they came faster than
// they were read. Each time, every interface of the demux was looked at again.
type Following struct {
	// Overflows counts them since the process started.
	Overflows uint64 `json:"overflows"`
	// LastOverflow is when it happened last.
	LastOverflow time.Time `json:"last_overflow,omitzero"`
}

// Interface is one interface the demux is attached to.
type Interface struct {
	// Name in the demux's network namespace.
	Name string `json:"name"`
	// Index is the interface index, 0 while there is no such interface.
	Index int `json:"index"`
	// Attach is how the program is attached: "tcx" or "clsact", "" while there is no such interface.
	Attach string `json:"attach"`
	// State is one of the constants below.
	State string `json:"state"`
	// MTU is the interface's, in octets of payload without tags, or that of the other end of its veth where that is less;
	// 0 while there is no such interface.
	MTU int `json:"mtu"`
	// Peer is that frames for a worker do not cross the interface: they are handed to the other end of its veth.
	Peer bool `json:"peer,omitempty"`
	// EarlyDrop is that frames of unknown MACs are dropped in the trunk's driver.
	EarlyDrop bool `json:"early_drop,omitempty"`
	// Problems are what will lose frames, each a sentence for people.
	Problems []string `json:"problems,omitempty"`
}

// States of an interface.
const (
	StateUp     = "up"
	StateDown   = "down"   // frames for it are dropped as no_worker or no_trunk
	StateAbsent = "absent" // it is attached when an interface of the name comes
)

// Location is where a client was last seen.
type Location struct {
	// Trunk is the name of the trunk, "eth1 (gone)" for one that was deleted, or "ifindex N (gone)" if its name is not known.
	Trunk string `json:"trunk"`
	// TrunkIndex is the trunk's interface index.
	TrunkIndex int `json:"trunk_index"`
	// Protocol of the outer tag: "802.1Q" or "802.1ad".
	Protocol string `json:"protocol"`
	// VID is the VLAN identifier, 0 (priority tag) to 4094.
	VID uint16 `json:"vid"`
	// PCP is the priority code point of the last tag, 0 to 7.
	PCP uint8 `json:"pcp"`
	// DEI is the drop eligible indicator of the last tag.
	DEI bool `json:"dei"`
}

// Assignment is an assignment as it is listed.
type Assignment struct {
	demux.Assignment
	// WorkerIndex is the worker's interface index, 0 while there is no such interface.
	WorkerIndex int `json:"worker_index"`
	// Location is where the client was last seen, nil when it has not been seen since it was assigned.
	Location *Location `json:"location,omitempty"`
}

// Tally counts frames.
type Tally = demux.Tally

// ClientCounters count one client's frames since its MAC was assigned.
type ClientCounters struct {
	// MAC as text in lower-case colon form.
	MAC demux.MAC `json:"mac"`
	// Worker is the interface's name.
	Worker string `json:"worker"`
	// Rx counts frames from the client to its worker.
	Rx Tally `json:"rx"`
	// Tx counts unicast frames from the worker to the client.
	Tx Tally `json:"tx"`
	// Location is where the client was last seen, nil when it has not been.
	Location *Location `json:"location,omitempty"`
}

// WorkerCounters count what one worker sent to group addresses.
type WorkerCounters = demux.WorkerCounters

// DropCounter counts the frames dropped for one reason.
type DropCounter struct {
	// Reason is the dataplane's name for it, e.g. "unknown_client".
	Reason string `json:"reason"`
	Tally
}

// Counters is everything the dataplane counts. Every frame that enters it increments exactly one of
// these; a flooded frame, one per copy.
type Counters struct {
	// Clients by MAC.
	Clients []ClientCounters `json:"clients"`
	// Workers by index.
	Workers []WorkerCounters `json:"workers"`
	// Drops holds every reason, those that never happened included.
	Drops []DropCounter `json:"drops"`
	// Passed counts untagged frames left to the host's own stack (policy "pass").
	Passed Tally `json:"passed"`
	// UnknownPassed counts tagged frames of MACs without a worker that were left to the host's own stack, UnknownForwarded
	// those given to the default worker.
	UnknownPassed    Tally `json:"unknown_passed"`
	UnknownForwarded Tally `json:"unknown_forwarded"`
	// EventsLost counts learned and moved events that found the dataplane's ring buffer full.
	EventsLost uint64 `json:"events_lost"`
	// PlacesLost counts how often the kernel had no memory to note where a client is: group frames may miss it.
	PlacesLost uint64 `json:"places_lost"`
}

// Event is a change of a client's location, or that it was seen where it may not be.
type Event struct {
	// Type is "learned" for a client's first frame, "moved" for each change of place after it, "forgotten" when its
	// trunk has gone or it has sent nothing for the age, and "wrong_place" (once a second) where its frames are dropped and
	// its location stays.
	Type string `json:"type"`
	// MAC as text in lower-case colon form.
	MAC demux.MAC `json:"mac"`
	// From is the location before, nil if there was none.
	From *Location `json:"from,omitempty"`
	// To is where the frame came from, nil for "forgotten".
	To *Location `json:"to,omitempty"`
	// Time is when the frame that caused it arrived, or the location was forgotten.
	Time time.Time `json:"time"`
	// Earliest is the earliest that it can have been and Time the latest, from a dataplane that looks now and then
	// what has changed; zero where Time is exact, as it is of vlandemux.
	Earliest time.Time `json:"earliest,omitzero"`
	// Merged is how many events this one stands for, 0 for itself alone: From is that of the first, the rest that
	// of the last.
	Merged int `json:"merged,omitempty"`
}

// Drop is a frame that was dropped, and those like it since the last Drop of its MAC and reason.
type Drop struct {
	Type string `json:"type"` // "dropped"
	// MAC is the source of a frame from a trunk, the destination of one from a worker.
	MAC demux.MAC `json:"mac"`
	// Reason is the counter's name, e.g. "unknown_client".
	Reason string `json:"reason"`
	// Interface is the name of the trunk or worker on which it came in.
	Interface string `json:"interface"`
	// Place is where a frame from a trunk was seen, or where one from a worker was to go; nil for a frame without
	// a tag, and if the place is not known.
	Place *Location `json:"place,omitempty"`
	// Packets are the wire frames dropped for the reason, of the MAC, since the last Drop of both.
	Packets uint64 `json:"packets"`
	// Time is when the last of them arrived.
	Time time.Time `json:"time"`
}

// assignments is the body of GET /v1/assignments.
type assignments struct {
	Assignments []Assignment `json:"assignments"`
}

// assignRequest is the body of PUT /v1/assignments/{mac}.
type assignRequest struct {
	// Worker is the interface's name.
	Worker string `json:"worker"`
	// Reassign gives an assigned MAC another worker; false assigns one that has no other.
	Reassign bool `json:"reassign"`
	// Force takes an interface that looks like one of the host's own.
	Force bool `json:"force"`
	// Places are where the client may be; none: anywhere.
	Places []demux.Place `json:"places,omitempty"`
}

// Types of the lines of GET /v1/events and /v1/drops that are neither.
const (
	lineReady = "ready" // the first line: the reader is subscribed
	lineEnd   = "end"   // the last line, with the reason in Error
)

type streamLine struct {
	Type  string `json:"type"`
	Error *Error `json:"error,omitempty"`
}
