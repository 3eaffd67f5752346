package agent

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// inNamespace runs fn with a thread in the network namespace ns. Sockets opened in fn belong to ns for good, so only opening them
// has to happen here. fn must not start goroutines that count on the namespace: they run on other threads.
func inNamespace(ns *os.File, fn func() error) error {
	result := make(chan error, 1)
	go func() { result <- onVisit(ns, fn) }()
	return <-result
}

// onVisit takes the calling goroutine's thread to ns and back. A thread that can't be taken back stays locked and so ends with its goroutine:
// no other may ever run on it. (Ending every thread this way would not do: the first of a process can't end, and /proc/self/ns/net is that one's.)
func onVisit(ns *os.File, fn func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("opening the agent's own network namespace: %w", err)
	}
	defer home.Close() //nolint:errcheck // only read
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("entering network namespace %s: %w; the host container needs CAP_SYS_ADMIN", ns.Name(), err)
	}
	err = fn()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, fmt.Errorf("leaving network namespace %s: %w", ns.Name(), back))
	}
	runtime.UnlockOSThread()
	return err
}
