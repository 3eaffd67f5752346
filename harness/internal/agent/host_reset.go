package agent

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/vlandemux/vlandemux/harness/internal/tail"
	"github.com/vlandemux/vlandemux/harness/internal/wire"
)

// Reset ends the lab and leaves the container as it was when new: the taps are closed, vlandemux is ended and detached the way an operator
// would, and every link is gone. Another lab can be wired then. Host only.
func (c *Client) Reset(ctx context.Context) ([]wire.Step, error) {
	return call[Nothing, []wire.Step](ctx, c, "/host/reset", Nothing{})
}

func (h *host) reset(ctx context.Context, _ Nothing) (steps []wire.Step, err error) {
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"taps", h.taps.close}, {"vlandemux", h.demux.kill}, {"detach", func() error { return h.leave(ctx) }}, {"links", h.unwire}, {"drops", h.drops.forget},
	} {
		start := time.Now()
		err = errors.Join(err, step.do())
		steps = append(steps, wire.Step{Name: step.name, Took: time.Since(start)})
	}
	h.demux.forget()
	if err != nil {
		return steps, fmt.Errorf("resetting the host: %w", err)
	}
	return steps, nil
}

// leave detaches vlandemux and meanwhile ends the switch, of which it knows nothing: each waits for the kernel most of its time.
func (h *host) leave(ctx context.Context) error {
	unplugged := make(chan error, 1)
	go func() {
		network, err := h.wired()
		if err != nil {
			unplugged <- nil // there is nothing to unplug
			return
		}
		unplugged <- network.Unplug()
	}()
	return errors.Join(h.detach(ctx), <-unplugged)
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
