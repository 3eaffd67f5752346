package agent

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// streamAddr is the address of either end of a stream: there is nothing to tell apart.
type streamAddr struct{}

func (streamAddr) Network() string { return "stream" }
func (streamAddr) String() string  { return "agent" }

// streamConn makes a net.Conn of a pair of streams. Deadlines are not kept: the connection exists as long as its streams,
// and each call has a context of its own.
type streamConn struct {
	io.Reader
	io.Writer

	closeStream func() error
	closeOnce   sync.Once
	closed      chan struct{}
	closeErr    error
}

var _ net.Conn = (*streamConn)(nil)

// newStreamConn takes the two directions and what closes them; closeStream may be nil.
func newStreamConn(r io.Reader, w io.Writer, closeStream func() error) *streamConn {
	return &streamConn{Reader: r, Writer: w, closeStream: closeStream, closed: make(chan struct{})}
}

// Close closes the streams once; it is safe to call from several goroutines.
func (c *streamConn) Close() error {
	c.closeOnce.Do(func() {
		if c.closeStream != nil {
			c.closeErr = c.closeStream()
		}
		close(c.closed)
	})
	return c.closeErr
}

func (c *streamConn) LocalAddr() net.Addr              { return streamAddr{} }
func (c *streamConn) RemoteAddr() net.Addr             { return streamAddr{} }
func (c *streamConn) SetDeadline(time.Time) error      { return nil }
func (c *streamConn) SetReadDeadline(time.Time) error  { return nil }
func (c *streamConn) SetWriteDeadline(time.Time) error { return nil }

// oneListener hands out one connection, then waits until that connection is closed and ends.
type oneListener struct {
	conn  *streamConn
	first chan net.Conn // holds it until it is handed out
}

var _ net.Listener = (*oneListener)(nil)

func newOneListener(conn *streamConn) *oneListener {
	l := &oneListener{conn: conn, first: make(chan net.Conn, 1)}
	l.first <- conn
	return l
}

// errStreamEnded ends the server: the other end is gone, and with it the reason to be here.
var errStreamEnded = errors.New("the stream has ended")

func (l *oneListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.first:
		return conn, nil
	case <-l.conn.closed:
		return nil, errStreamEnded
	}
}

func (l *oneListener) Close() error   { return l.conn.Close() }
func (l *oneListener) Addr() net.Addr { return streamAddr{} }
