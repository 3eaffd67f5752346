// Package tchook runs BPF programs at tc ingress, through a TCX link or a clsact
// filter. Interfaces are those of the network namespace of the calling thread.
package tchook

import (
	"errors"

	"github.com/cilium/ebpf"
)

// ErrGone means that an interface or a link is not there any more.
var ErrGone = errors.New("interface or attachment is gone")

// Hook is one way to run a program at tc ingress of one interface.
type Hook interface {
	// Replace puts the program in the place of the present one, atomically.
	Replace(program *ebpf.Program) error
	// There reports whether the program is where it was put.
	There() (bool, error)
	// Restore runs the program again where somebody else has taken it off, and
	// reports whether it had to.
	Restore(program *ebpf.Program) (bool, error)
	// Detach takes the program off and removes pins. An interface that is
	// gone is not an error.
	Detach() error
	// Close releases descriptors.
	Close() error
}
