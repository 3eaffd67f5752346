package agent

import (
	"context"
	"errors"
	"fmt"
)

// Reset ends the lab and leaves the container as it was when new: the taps are closed, vlandemux is ended and detached the way an operator
// would, and every link is gone. Another lab can be wired then. Host only.
func (c *Client) Reset(ctx context.Context) error {
	_, err := call[Nothing, Nothing](ctx, c, "/host/reset", Nothing{})
	return err
}

func (h *host) reset(ctx context.Context, _ Nothing) (Nothing, error) {
	errs := []error{h.taps.close(), h.demux.kill()}
	detached, err := h.run(ctx, []string{demuxName, "detach"})
	if err == nil && detached.Exit != 0 {
		err = fmt.Errorf("detaching: %s detach ended with status %d: %s", demuxName, detached.Exit, detached.Stderr)
	}
	h.mu.Lock()
	network := h.network
	h.network = nil
	h.mu.Unlock()
	if network != nil {
		errs = append(errs, network.Close())
	}
	if err := errors.Join(append(errs, err)...); err != nil {
		return Nothing{}, fmt.Errorf("resetting the host: %w", err)
	}
	return Nothing{}, nil
}
