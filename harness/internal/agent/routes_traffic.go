package agent

import (
	"context"
	"net/http"

	"github.com/vlandemux/vlandemux/harness/internal/traffic"
)

func trafficRoutes(mux *http.ServeMux) {
	handle(mux, "/traffic/send", traffic.Send)
	handle(mux, "/traffic/ping", traffic.Ping)
	handle(mux, "/traffic/http", traffic.HTTPGet)
	handle(mux, "/traffic/udp", traffic.UDP)
	handleStream(mux, "/traffic/tcp", func(ctx context.Context, r traffic.TCPRequest, e *emitter[traffic.TCPProgress, traffic.TCPReport]) (traffic.TCPReport, error) {
		return traffic.TCP(ctx, r, e.Event)
	})
	handleStream(mux, "/traffic/http/serve", func(ctx context.Context, r traffic.HTTPServeRequest, e *emitter[traffic.HTTPSeen, traffic.HTTPServeReport]) (traffic.HTTPServeReport, error) {
		return traffic.ServeHTTP(ctx, r, e.Ready, e.Event)
	})
	handleStream(mux, "/traffic/tcp/serve", func(ctx context.Context, r traffic.TCPServeRequest, e *emitter[traffic.TCPServed, traffic.TCPServeReport]) (traffic.TCPServeReport, error) {
		return traffic.ServeTCP(ctx, r, e.Ready, e.Event)
	})
	handleStream(mux, "/traffic/udp/serve", func(ctx context.Context, r traffic.UDPServeRequest, e *emitter[traffic.UDPPeer, traffic.UDPServeReport]) (traffic.UDPServeReport, error) {
		return traffic.ServeUDP(ctx, r, e.Ready, e.Event)
	})
}

// Send sends crafted frames from the agent's namespace. The report counts what was sent, also when err is not nil.
func (c *Client) Send(ctx context.Context, request traffic.SendRequest) (traffic.SendReport, error) {
	return call[traffic.SendRequest, traffic.SendReport](ctx, c, "/traffic/send", request)
}

// Ping sends echo requests and waits for the replies. A missing reply is no error: see the report.
func (c *Client) Ping(ctx context.Context, request traffic.PingRequest) (traffic.PingReport, error) {
	return call[traffic.PingRequest, traffic.PingReport](ctx, c, "/traffic/ping", request)
}

// HTTPGet sends GET requests and returns at the first that fails.
func (c *Client) HTTPGet(ctx context.Context, request traffic.HTTPGetRequest) (traffic.HTTPGetReport, error) {
	return call[traffic.HTTPGetRequest, traffic.HTTPGetReport](ctx, c, "/traffic/http", request)
}

// UDP exchanges datagrams with a server started by ServeUDP.
func (c *Client) UDP(ctx context.Context, request traffic.UDPRequest) (traffic.UDPReport, error) {
	return call[traffic.UDPRequest, traffic.UDPReport](ctx, c, "/traffic/udp", request)
}

// TCP makes one connection to a server started by ServeTCP and returns when its octets have flown and were verified.
// progress may be nil; it runs in this goroutine, first when the first octets have arrived.
func (c *Client) TCP(ctx context.Context, request traffic.TCPRequest, progress func(traffic.TCPProgress)) (traffic.TCPReport, error) {
	return callStream[traffic.TCPRequest, traffic.TCPProgress, traffic.TCPReport](ctx, c, "/traffic/tcp", request, nil, progress)
}

// ServeHTTP starts an HTTP server in the agent and returns once it listens. seen, which may be nil, is called for each request in the order seen,
// in a goroutine of the server's. The server ends with ctx or Close.
func (c *Client) ServeHTTP(ctx context.Context, request traffic.HTTPServeRequest, seen func(traffic.HTTPSeen)) (*Server, error) {
	return startServer[traffic.HTTPServeRequest, traffic.HTTPSeen, traffic.HTTPServeReport](ctx, c, "/traffic/http/serve", request, seen)
}

// ServeTCP starts a server of checked streams and returns once it listens. served, which may be nil, is called for each connection that has ended,
// in a goroutine of the server's. The server ends with ctx or Close.
func (c *Client) ServeTCP(ctx context.Context, request traffic.TCPServeRequest, served func(traffic.TCPServed)) (*Server, error) {
	return startServer[traffic.TCPServeRequest, traffic.TCPServed, traffic.TCPServeReport](ctx, c, "/traffic/tcp/serve", request, served)
}

// ServeUDP starts an echo server and returns once it listens. heard, which may be nil, is called once for each peer,
// in a goroutine of the server's. The server ends with ctx or Close.
func (c *Client) ServeUDP(ctx context.Context, request traffic.UDPServeRequest, heard func(traffic.UDPPeer)) (*Server, error) {
	return startServer[traffic.UDPServeRequest, traffic.UDPPeer, traffic.UDPServeReport](ctx, c, "/traffic/udp/serve", request, heard)
}
