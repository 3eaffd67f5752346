package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// errPinsHeld means that another process works with the same pins.
var errPinsHeld = errors.New("another vlandemux runs with these pins")

// pins is the right to work with one folder of pins.
type pins struct {
	// lock is an empty folder beside that of the pins, locked. The folder of the pins has a lock of its
	// own, which the dataplane holds for single changes; a BPF file system has no plain files. Nil when
	// nothing is pinned.
	lock *os.File
	// existed is whether the folder of the pins was there.
	existed bool
}

// holdPins locks the pins at path until release or the end of the process. An empty path pins nothing.
func holdPins(path string) (*pins, error) {
	if path == "" {
		return &pins{}, nil
	}
	lock, err := lockFolder(lockPath(path))
	if err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("%w; stop that process first (traffic goes on without it), or choose another --bpffs", errPinsHeld)
		}
		return nil, fmt.Errorf("locking the pins in %s: %w", path, err)
	}
	entries, err := os.ReadDir(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(fmt.Errorf("reading the pins: %w", err), lock.Close())
	}
	return &pins{lock: lock, existed: len(entries) > 0}, nil
}

// lockPath is the folder that is locked for the pins at path. A BPF file system takes no dot in a name.
func lockPath(path string) string { return filepath.Clean(path) + "-lock" }

// lockFolder makes and locks the folder at path. Whoever held the lock before may have removed the folder
// after it was opened here, hence the loop.
func lockFolder(path string) (*os.File, error) {
	for {
		if err := os.MkdirAll(path, 0o700); err != nil {
			return nil, err
		}
		folder, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(folder.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			return nil, errors.Join(err, folder.Close())
		}
		held, err := folder.Stat()
		if err != nil {
			return nil, errors.Join(err, folder.Close())
		}
		if now, err := os.Stat(path); err == nil && os.SameFile(held, now) {
			return folder, nil
		}
		if err := folder.Close(); err != nil {
			return nil, err
		}
	}
}

// release unlocks the pins and leaves nothing of the lock.
func (p *pins) release() error {
	if p.lock == nil {
		return nil
	}
	err := os.Remove(p.lock.Name())
	if errors.Is(err, fs.ErrNotExist) { // its file system was unmounted
		err = nil
	}
	return errors.Join(err, p.lock.Close())
}
