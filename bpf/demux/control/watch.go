package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// Watch calls handle for each learned and moved event from now on, in order, until ctx ends (and
// returns its error), handle fails (and returns that error) or the demux ends the stream: with
// [ErrSlowReader] or [ErrStopping]. It never returns nil.
func (c *Client) Watch(ctx context.Context, handle func(Event) error) error {
	return c.WatchReady(ctx, func() {}, handle)
}

// WatchReady is Watch which calls ready once it is subscribed: an event that happens after that is
// seen by handle.
func (c *Client) WatchReady(ctx context.Context, ready func(), handle func(Event) error) error {
	response, err := c.send(ctx, http.MethodGet, "/v1/events", nil)
	if err != nil {
		return wrap("watching events", err)
	}
	defer response.Body.Close()
	decoder := json.NewDecoder(response.Body)
	for {
		var line eventLine
		if err := decoder.Decode(&line); err != nil {
			return watchError(ctx, err)
		}
		switch line.Type {
		case lineReady:
			ready()
		case lineEnd:
			if line.Error == nil {
				return watchError(ctx, io.EOF)
			}
			return wrap("watching events", line.Error)
		default:
			if err := handle(line.Event); err != nil {
				return err
			}
		}
	}
}

// watchError says why a stream broke off without a last line.
func watchError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("watching events: vlandemux went away: %w", io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("watching events: %w", err)
}
