package e2e

import (
	"context"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/harness"
	"github.com/vlandemux/vlandemux/harness/engine"
)

// engineVersion asks the Docker engine what it is. What is wrong with one that
// does not answer is for the suite's preparation to find out.
func engineVersion(ctx context.Context) engine.Version {
	e, err := engine.Connect(ctx)
	if err != nil {
		return engine.Version{}
	}
	defer e.Close() //nolint:errcheck // only a connection
	return e.Version()
}

// attachModes are those a kernel has to have: TCX came with Linux 6.6.
func attachModes(kernel string) []demux.AttachMode {
	if harness.KernelAtLeast(kernel, 6, 6) {
		return []demux.AttachMode{demux.AttachTCX, demux.AttachClsact}
	}
	return []demux.AttachMode{demux.AttachClsact}
}
