package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// Watch calls ready once it is subscribed, and then handle for each event from there on, in order, until ctx ends
// (and returns its error), handle fails (and returns that error) or the demux ends the stream: with
// [ErrSlowReader] or [ErrStopping]. It never returns nil.
func (c *Client) Watch(ctx context.Context, ready func(), handle func(Event) error) error {
	return watch(ctx, c, "events", "/v1/events", ready, handle)
}

// WatchMerged is Watch with one event a second at most of each client: see [Event.Merged].
func (c *Client) WatchMerged(ctx context.Context, ready func(), handle func(Event) error) error {
	return watch(ctx, c, "events", "/v1/events?merge=true", ready, handle)
}

// WatchDrops is Watch for frames that are dropped: one a second at most of each MAC and reason, and 100 of all.
func (c *Client) WatchDrops(ctx context.Context, ready func(), handle func(Drop) error) error {
	return watch(ctx, c, "drops", "/v1/drops", ready, handle)
}

func watch[T any](ctx context.Context, c *Client, what, path string, ready func(), handle func(T) error) error {
	response, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return wrap("watching "+what, err)
	}
	defer response.Body.Close()
	decoder := json.NewDecoder(response.Body)
	for {
		var text json.RawMessage
		var line streamLine
		err := decoder.Decode(&text)
		if err == nil {
			err = json.Unmarshal(text, &line)
		}
		if err != nil {
			return watchError(ctx, what, err)
		}
		switch line.Type {
		case lineReady:
			ready()
		case lineEnd:
			if line.Error == nil {
				return watchError(ctx, what, io.EOF)
			}
			return wrap("watching "+what, line.Error)
		default:
			var value T
			if err := json.Unmarshal(text, &value); err != nil {
				return watchError(ctx, what, err)
			}
			if err := handle(value); err != nil {
				return err
			}
		}
	}
}

// watchError says why a stream broke off without a last line.
func watchError(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("watching %s: vlandemux went away: %w", what, io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("watching %s: %w", what, err)
}
