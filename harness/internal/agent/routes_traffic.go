package agent

import (
	"context"
	"encoding/json"
	"io"
	"net/http"

	"github.com/vlandemux/vlandemux/harness/internal/traffic"
)

var _ traffic.Agent = (*Client)(nil)

func trafficRoutes(mux *http.ServeMux) {
	for _, kind := range traffic.Kinds() {
		handleStream(mux, "/traffic/"+kind.Name, func(ctx context.Context, r json.RawMessage, e *emitter[json.RawMessage, json.RawMessage]) (json.RawMessage, error) {
			return kind.Run(ctx, r, e.Ready, e.Event)
		})
	}
}

// Do implements [traffic.Agent].
func (c *Client) Do(ctx context.Context, kind string, request any, event func(json.RawMessage) error) (json.RawMessage, error) {
	return callStream[any, json.RawMessage, json.RawMessage](ctx, c, "/traffic/"+kind, request, nil, nil, event)
}

// DoUntil implements [traffic.Agent].
func (c *Client) DoUntil(ctx context.Context, over <-chan struct{}, kind string, request any) (json.RawMessage, error) {
	until, end := io.Pipe()
	// The transport looks at the context only between reads of the body: wake it.
	stop := context.AfterFunc(ctx, func() { until.CloseWithError(context.Cause(ctx)) }) //nolint:errcheck // a pipe's end never fails to close
	defer stop()
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-over:
			end.Close() //nolint:errcheck // a pipe's end never fails to close
		case <-ended:
		}
	}()
	return callStream[any, json.RawMessage, json.RawMessage](ctx, c, "/traffic/"+kind, request, until, nil, nil)
}

// Serve implements [traffic.Agent].
func (c *Client) Serve(ctx context.Context, kind string, request any, event func(json.RawMessage) error) (traffic.Server, error) {
	server, err := startServer[any, json.RawMessage, json.RawMessage](ctx, c, "/traffic/"+kind, request, event)
	if err != nil {
		return nil, err
	}
	return server, nil
}
