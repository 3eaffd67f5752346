package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
)

// proxy hands requests below /demux/ to the demux's socket, and its streams back line by line.
func (d *demuxChild) proxy() http.Handler {
	transport := &http.Transport{
		// One connection a request: a demux that was restarted must never be asked on a connection of its predecessor.
		DisableKeepAlives:  true,
		DisableCompression: true,
		// One that serves and says nothing is as useless as one that is never ready.
		ResponseHeaderTimeout: d.start,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, "unix", d.socketPath())
		},
	}
	target := &url.URL{Scheme: "http", Host: demuxName}
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     transport,
		FlushInterval: -1, // at once
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadGateway)
			json.NewEncoder(w).Encode(&control.Error{ //nolint:errcheck // the caller is gone: nobody is left to tell
				Code:    control.CodeInternal,
				Message: fmt.Sprintf("asking vlandemux on %s: %v; does it run? its log (DemuxLog) tells", d.socketPath(), err),
			})
		},
	}
	return http.StripPrefix("/demux", proxy)
}

func (d *demuxChild) socketPath() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.socket == "" {
		return demuxSocket
	}
	return d.socket
}
