package e2e

import (
	"context"
	"fmt"

	"github.com/vlandemux/vlandemux/bpf/demux"
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

// attachModes are those a kernel has by its version, so that none is left out
// for any other reason: TCX came with Linux 6.6. A kernel that does not tell its
// version has to have both.
func attachModes(kernel string) []demux.AttachMode {
	var major, minor int
	_, err := fmt.Sscanf(kernel, "%d.%d", &major, &minor)
	if err == nil && (major < 6 || major == 6 && minor < 6) {
		return []demux.AttachMode{demux.AttachClsact}
	}
	return []demux.AttachMode{demux.AttachTCX, demux.AttachClsact}
}
