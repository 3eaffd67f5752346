package e2e

import (
	"context"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/harness"
	"github.com/vlandemux/vlandemux/harness/engine"
)

// engineKernel asks the Docker engine which kernel it runs on: "" if it does
// not say. What is wrong with it is for the suite's preparation to find out.
func engineKernel(ctx context.Context) string {
	e, err := engine.Connect(ctx)
	if err != nil {
		return ""
	}
	defer e.Close() //nolint:errcheck // only a connection
	return e.Version().Kernel
}

// attachModes are those a kernel has to have: TCX came with Linux 6.6.
func attachModes(kernel string) []demux.AttachMode {
	if harness.KernelAtLeast(kernel, 6, 6) {
		return []demux.AttachMode{demux.AttachTCX, demux.AttachClsact}
	}
	return []demux.AttachMode{demux.AttachClsact}
}
