package agent

import (
	"context"

	"github.com/vlandemux/vlandemux/harness/internal/fault"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// faultRequest is the body of /host/fault.
type faultRequest struct {
	Point probe.TapPoint `json:"point"`
	Fault fault.Fault    `json:"fault"`
}

// Fault breaks one of the frames that leave an interface of the lab. Host only.
func (c *Client) Fault(ctx context.Context, point probe.TapPoint, f fault.Fault) error {
	_, err := call[faultRequest, Nothing](ctx, c, "/host/fault", faultRequest{Point: point, Fault: f})
	return err
}

func (h *host) fault(_ context.Context, r faultRequest) (Nothing, error) {
	return Nothing{}, h.within(r.Point, func() error { return fault.Install(r.Point.Interface, r.Fault) })
}
