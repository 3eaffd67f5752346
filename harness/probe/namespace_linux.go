package probe

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// inNamespace runs do in the network namespace that point and opts name. It does
// so on a goroutine that stays locked to its thread, so that the thread, whose
// namespace has changed, ends with it and never runs anything else.
func inNamespace(point TapPoint, opts TapOptions, do func() error) error {
	fd := opts.NamespaceFD
	switch {
	case fd > 0:
	case point.PID > 0:
		file, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", point.PID))
		if err != nil {
			return fmt.Errorf("opening the network namespace of process %d: %w", point.PID, err)
		}
		defer func() { _ = file.Close() }()
		fd = int(file.Fd())
	case point.Namespace != "":
		return fmt.Errorf("entering network namespace %q: only its owner can open it, and no descriptor was given", point.Namespace)
	default:
		return do()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("entering the network namespace (this needs CAP_SYS_ADMIN): %w", err)
			return
		}
		done <- do()
	}()
	return <-done
}
