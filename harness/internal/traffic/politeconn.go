package traffic

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// lastWord is how long a connection that was answered waits for the server's end of it.
const lastWord = time.Second

// politeConn lets the server close first once it has answered, so that TIME_WAIT stays on the server's side and a chosen local port
// is free for the next connection. closed tells when it is.
type politeConn struct {
	net.Conn
	answered atomic.Bool
	once     atomic.Bool
	closed   chan struct{}
}

// dialPolitely is DialContext for an http.Transport.
func dialPolitely(d *net.Dialer) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &politeConn{Conn: conn, closed: make(chan struct{})}, nil
	}
}

// Close is safe for concurrent use; the first call does the work.
func (c *politeConn) Close() error {
	if !c.once.CompareAndSwap(false, true) {
		return nil
	}
	defer close(c.closed)
	if c.answered.Load() {
		// An error leaves the port in TIME_WAIT on this side, which the next dial reports.
		if err := c.SetReadDeadline(time.Now().Add(lastWord)); err == nil {
			io.Copy(io.Discard, c.Conn) //nolint:errcheck // as above
		}
		// Closing returns once the server's kernel has acknowledged it: until then the port is not free either (LAST_ACK).
		if tcp, ok := c.Conn.(*net.TCPConn); ok {
			tcp.SetLinger(int(lastWord.Seconds())) //nolint:errcheck // as above
		}
	}
	return c.Conn.Close()
}
