package agent

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

func tapRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /tap", func(w http.ResponseWriter, r *http.Request) {
		name := r.URL.Query().Get("interface")
		w.Header().Set("Content-Type", "application/x-pcapng")
		serveBody(w, func(body io.Writer) error {
			point := probe.TapPoint{Name: name, Interface: name}
			if err := probe.LiveCapture(r.Context(), point, probe.TapOptions{}, body); err != nil {
				return fmt.Errorf("tapping %q: %w", name, err)
			}
			return nil
		})
	})
}

// Tap captures an interface of the agent's namespace live, as pcapng, until the reader is closed or ctx ends.
// It returns once the capture runs.
func (c *Client) Tap(ctx context.Context, iface string) (io.ReadCloser, error) {
	return c.download(ctx, "/tap?interface="+url.QueryEscape(iface))
}
