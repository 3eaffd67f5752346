package control

import (
	"context"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

// Dataplane is what a [Server] answers for. [*demux.Demux] is the real one. Its methods are called
// concurrently, ReadEvents by one goroutine at a time.
type Dataplane interface {
	Assign(mac demux.MAC, worker int) error
	Reassign(mac demux.MAC, worker int) error
	Unassign(mac demux.MAC) error
	Assignments() ([]demux.Assignment, error)
	Counters() (demux.Counters, error)
	ReadEvents(ctx context.Context, handle func(demux.Event) error) error
	Trunks() []demux.Attachment
	Workers() []demux.Attachment
	Capacity() int
}

var _ Dataplane = (*demux.Demux)(nil)

// Names translates between interface names and indexes. [NewNames] is the kernel's own.
// It is used concurrently.
type Names interface {
	// Index returns the index of the interface with that name, and an error that satisfies
	// errors.Is(err, demux.ErrUnknownInterface) when there is none.
	Index(name string) (int, error)
	// Name returns the name of the interface with that index now, or "ifindex N (gone)".
	Name(index int) string
}
