package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
)

// baseURL is where requests go. The name is for readers only: there is one connection.
const baseURL = "http://agent"

// Client calls one agent. All methods are safe for concurrent use; each ends when its context does.
type Client struct {
	stream *streamConn
	watch  *watchedReader

	mu   sync.Mutex
	conn *http.ClientConn // guarded by mu; made once, kept for good
}

// Dial makes a client of the agent at the other end of stream, which it owns from then on. The connection is made at once, while others go on: the agent
// ends when nobody speaks to it. Close ends the stream, and with it the agent.
func Dial(stream io.ReadWriteCloser) *Client {
	watch := &watchedReader{r: stream, ended: make(chan struct{})}
	c := &Client{stream: newStreamConn(watch, stream, stream.Close), watch: watch}
	go c.connect() //nolint:errcheck // the first call meets the error
	return c
}

// RoundTripper carries any HTTP request to the agent, whatever its host. It is safe for concurrent use.
func (c *Client) RoundTripper() http.RoundTripper { return roundTripper{c} }

// Done is closed when the stream has ended: after Close, or because the agent or its container is gone.
func (c *Client) Done() <-chan struct{} { return c.watch.ended }

// Close ends the stream: the agent stops all it started and exits. Calls in flight fail.
func (c *Client) Close() error {
	err := c.stream.Close()
	c.watch.end(errClosed)
	if err != nil {
		return fmt.Errorf("closing the agent's stream: %w", err)
	}
	return nil
}

var errClosed = errors.New("this side closed it")

type roundTripper struct{ client *Client }

func (r roundTripper) RoundTrip(request *http.Request) (*http.Response, error) {
	conn, err := r.client.connect()
	if err == nil {
		var response *http.Response
		if response, err = conn.RoundTrip(request); err == nil {
			return response, nil
		}
	}
	if request.Context().Err() != nil {
		return nil, context.Cause(request.Context())
	}
	select {
	case <-r.client.watch.ended:
		return nil, &StreamError{Cause: r.client.watch.cause()}
	default:
		return nil, err
	}
}

// connect performs HTTP/2's preface once. http.Transport's own pool is of no use here: it would dial again, and there is one stream.
func (c *Client) connect() (*http.ClientConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		return c.conn, nil
	}
	transport := &http.Transport{
		Protocols:          cleartextHTTP2(),
		HTTP2:              windows(),
		DisableCompression: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return c.stream, nil
		},
	}
	// The connection outlives the call which happens to be the first, hence not that call's context.
	conn, err := transport.NewClientConn(context.Background(), "http", "agent:80")
	if err != nil {
		// The preface could not be written: there is no agent to begin with.
		c.watch.end(fmt.Errorf("speaking HTTP/2 to the agent: %w", err))
		return nil, err
	}
	c.conn = conn
	return conn, nil
}

// StreamError says that there is no agent at the other end any more.
type StreamError struct{ Cause error }

// Error says what to look at: the stream itself only knows that it has ended.
func (e *StreamError) Error() string {
	return fmt.Sprintf("the agent's stream has ended (%v): its container is gone or going; its log (standard error) says why", e.Cause)
}

// Unwrap gives what the stream's read returned.
func (e *StreamError) Unwrap() error { return e.Cause }

// watchedReader notices the end of a stream.
type watchedReader struct {
	r     io.Reader
	once  sync.Once
	ended chan struct{}
	err   error // written before ended is closed
}

func (w *watchedReader) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if err != nil {
		w.end(err)
	}
	return n, err
}

func (w *watchedReader) end(err error) {
	w.once.Do(func() { w.err = err; close(w.ended) })
}

// cause is to be called once ended is closed.
func (w *watchedReader) cause() error { return w.err }
