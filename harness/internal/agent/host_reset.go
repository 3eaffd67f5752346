package agent

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"github.com/vlandemux/vlandemux/harness/internal/tail"
)

// Reset ends the lab and leaves the container as it was when new: the taps are closed, vlandemux is ended and detached the way an operator
// would, and every link is gone. Another lab can be wired then. Host only.
func (c *Client) Reset(ctx context.Context) error {
	_, err := call[Nothing, Nothing](ctx, c, "/host/reset", Nothing{})
	return err
}

func (h *host) reset(ctx context.Context, _ Nothing) (Nothing, error) {
	err := errors.Join(h.taps.close(), h.demux.kill(), h.detach(ctx), h.unwire(), h.drops.forget())
	h.demux.forget()
	if err != nil {
		return Nothing{}, fmt.Errorf("resetting the host: %w", err)
	}
	return Nothing{}, nil
}

// detach runs `vlandemux detach`.
func (h *host) detach(ctx context.Context) error {
	output := tail.New(demuxLog)
	cmd := exec.CommandContext(ctx, h.program, "detach")
	cmd.Args[0] = demuxName
	cmd.Stdout, cmd.Stderr = output, output
	running, err := startChild(cmd)
	if err != nil {
		return err
	}
	<-running.done
	if running.err != nil {
		return fmt.Errorf("running %s detach: %w; it wrote:\n%s", demuxName, running.err, output)
	}
	return nil
}
