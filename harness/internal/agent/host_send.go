package agent

import (
	"context"
	"fmt"

	"github.com/vlandemux/vlandemux/harness/internal/probe"
	"github.com/vlandemux/vlandemux/harness/internal/traffic"
)

// sendAtRequest is the body of /host/send.
type sendAtRequest struct {
	Point   probe.TapPoint      `json:"point"`
	Request traffic.SendRequest `json:"request"`
}

// SendAt sends crafted frames out of any interface of the lab. The request's Interface may be empty: it is the point's.
// The report counts what was sent, also when err is not nil. Host only.
func (c *Client) SendAt(ctx context.Context, point probe.TapPoint, request traffic.SendRequest) (traffic.SendReport, error) {
	return call[sendAtRequest, traffic.SendReport](ctx, c, "/host/send", sendAtRequest{Point: point, Request: request})
}

func (h *host) sendAt(ctx context.Context, r sendAtRequest) (traffic.SendReport, error) {
	switch r.Request.Interface {
	case "":
		r.Request.Interface = r.Point.Interface
	case r.Point.Interface:
	default:
		return traffic.SendReport{}, fmt.Errorf("sending at %s: the request names interface %q, the point %q; leave the request's empty",
			r.Point.Name, r.Request.Interface, r.Point.Interface)
	}
	var sender *traffic.Sender // its sockets stay in the namespace
	err := h.within(r.Point, func() (err error) {
		sender, err = traffic.OpenSender(r.Request)
		return err
	})
	if err != nil {
		return traffic.SendReport{}, fmt.Errorf("sending at %s: %w", r.Point.Name, err)
	}
	defer sender.Close()
	return sender.Send(ctx)
}
