package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
)

// errPinsHeld means that another process works with the same pins.
var errPinsHeld = errors.New("another vlandemux runs with these pins")

// holdPins locks the pins at path until release or the end of the process. An empty path pins nothing. The folder of the pins
// has a lock of its own, which the dataplane holds for single changes.
func holdPins(path string) (release func() error, err error) {
	if path == "" {
		return func() error { return nil }, nil
	}
	if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
		release, err = control.Lock(lockPath(path))
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("%w; stop that process first (traffic goes on without it), or choose another --bpffs", errPinsHeld)
	}
	if err != nil {
		return nil, fmt.Errorf("locking the pins in %s: %w", path, err)
	}
	return release, nil
}

// lockPath is the folder that is locked for the pins at path. A BPF file system takes no dot in a name.
func lockPath(path string) string { return filepath.Clean(path) + "-lock" }
