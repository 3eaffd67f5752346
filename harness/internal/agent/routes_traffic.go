package agent

import (
	"context"
	"encoding/json"
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

// Serve implements [traffic.Agent].
func (c *Client) Serve(ctx context.Context, kind string, request any, event func(json.RawMessage) error) (traffic.Server, error) {
	server, err := startServer[any, json.RawMessage, json.RawMessage](ctx, c, "/traffic/"+kind, request, event)
	if err != nil {
		return nil, err
	}
	return server, nil
}
