package control

import (
	"context"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

// Dataplane is what a [Server] answers for. [*demux.Demux] is the real one. Its methods are called
// concurrently, ReadEvents and ReadDrops by one goroutine at a time.
type Dataplane interface {
	AssignAll(assignments []demux.Assignment) error
	ReassignAll(assignments []demux.Assignment) error
	UnassignAll(macs []demux.MAC) error
	DetachTrunk(name string) error
	DetachWorker(name string) error
	// Assignments and Counters list clients by MAC, Find in the order of its argument.
	Assignments() ([]demux.Assignment, error)
	Find(macs []demux.MAC) ([]demux.Assignment, error)
	Assigned() int
	Counters() (demux.Counters, error)
	ReadEvents(ctx context.Context, handle func(demux.Event) error) error
	ReadDrops(ctx context.Context, began func(), handle func(demux.Drop) error) error
	Trunks() []demux.Attachment
	Workers() []demux.Attachment
	// Options are those that hold, none left out.
	Options() demux.Options
	// Pinned reports whether the dataplane outlives its process.
	Pinned() bool
}

var _ Dataplane = (*demux.Demux)(nil)

// Names gives the names of trunks in locations. [NewNames] is the kernel's own. It is used concurrently.
type Names interface {
	// Name returns the name of the interface with that index now, or "eth1 (gone)", or "ifindex N (gone)" if nobody had asked before.
	Name(index int) string
	// Facts returns what the kernel says of the interface with that name; all zero for none.
	Facts(name string) Facts
}

// Facts are what [Status] tells of an interface beside what the dataplane knows.
type Facts struct {
	// Hardware is no virtual device: it filters by destination MAC unless it is promiscuous.
	Hardware, Promiscuous bool
	// LRO is that the interface joins frames which it receives, in a way that the kernel cannot undo.
	LRO bool
	// XDP is that an XDP program is on it.
	XDP bool
}
