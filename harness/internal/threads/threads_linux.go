// Package threads runs functions on threads that are in other network namespaces.
package threads

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Do runs f on a thread that is in the network namespace of the descriptor,
// which needs CAP_SYS_ADMIN. Sockets opened in f belong to it for good. f must
// not start goroutines that rely on it: those run on other threads.
func Do(fd int, f func() error) error {
	return OnThread(func() error {
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering the network namespace (this needs CAP_SYS_ADMIN): %w", err)
		}
		return f()
	})
}

// OnThread runs f, which may change its thread's network namespace, on a thread
// of its own and puts that thread back where it came from. A thread that cannot
// be put back stays locked and ends with its goroutine, so that no other code
// ever runs on it. (Ending every such thread instead would be simpler, but the
// runtime cannot end the process's first thread: it would sit in the wrong
// namespace for ever, and /proc/self/ns/net with it.)
func OnThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := func() error {
			home, err := os.Open("/proc/thread-self/ns/net")
			if err != nil {
				runtime.UnlockOSThread()
				return fmt.Errorf("opening the thread's network namespace: %w", err)
			}
			defer home.Close() //nolint:errcheck // only a descriptor
			ferr := f()
			if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
				return errors.Join(ferr, fmt.Errorf("returning to the thread's network namespace: %w", err))
			}
			runtime.UnlockOSThread()
			return ferr
		}()
		done <- err
	}()
	return <-done
}
