package probe

import (
	"fmt"
	"os"

	"github.com/vlandemux/vlandemux/harness/internal/threads"
)

// inNamespace runs do in the network namespace that point and opts name.
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
	return threads.Do(fd, do)
}
