package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

// maxAnswer bounds what a client reads of one answer, in bytes: far above a full table's counters.
const maxAnswer = 1 << 30

// Client asks a running demux. It is safe for concurrent use. Its methods return an [*Error] (wrapped)
// for what the demux refused; errors.Is finds the dataplane's sentinel in it.
type Client struct {
	http *http.Client
	base string
}

// Dial returns a client for the demux that serves on a unix socket. Nothing is connected before the
// first request; a socket that is not there is that request's error.
func Dial(socket string) *Client {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var dialer net.Dialer
			conn, err := dialer.DialContext(ctx, "unix", socket)
			if err != nil {
				return nil, &dialError{socket: socket, err: err}
			}
			return conn, nil
		},
		IdleConnTimeout: idleTimeout / 2, // before the server ends them: a change sent at that moment would fail
	}
	return NewClient(transport, "http://vlandemux")
}

// NewClient returns a client that sends its requests through rt to URLs below base, e.g.
// "http://agent/demux" for a demux behind a reverse proxy.
func NewClient(rt http.RoundTripper, base string) *Client {
	return &Client{http: &http.Client{Transport: rt}, base: strings.TrimSuffix(base, "/")}
}

// Close releases idle connections. The client stays usable.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status returns what the demux is attached to.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var status Status
	err := c.call(ctx, http.MethodGet, "/v1/status", nil, &status)
	return status, wrap("asking for the status", err)
}

// Assignments returns every assignment, by MAC.
func (c *Client) Assignments(ctx context.Context) ([]Assignment, error) {
	var answer assignments
	err := c.call(ctx, http.MethodGet, "/v1/assignments", nil, &answer)
	return answer.Assignments, wrap("asking for the assignments", err)
}

// Assign gives a MAC that has no other worker the interface called worker. With places it may be at these alone.
func (c *Client) Assign(ctx context.Context, mac, worker string, places ...demux.Place) error {
	return c.assign(ctx, "assigning", mac, assignRequest{Worker: worker, Places: places})
}

// AssignAll gives each MAC, none of which has another worker, the one named, or with reassign gives MACs that have workers
// other ones: all of them or, with an error, none. With force it takes interfaces that look like the host's own.
func (c *Client) AssignAll(ctx context.Context, wanted []demux.Assignment, reassign, force bool) error {
	path := fmt.Sprintf("/v1/assignments?reassign=%t&force=%t", reassign, force)
	err := c.call(ctx, http.MethodPost, path, map[string][]demux.Assignment{"assignments": wanted}, nil)
	if reassign {
		return wrap("reassigning clients", err)
	}
	return wrap("assigning clients", err)
}

func (c *Client) assign(ctx context.Context, doing, mac string, request assignRequest) error {
	err := c.call(ctx, http.MethodPut, assignmentPath(mac), request, nil)
	return wrap(fmt.Sprintf("%s %s to %s", doing, mac, request.Worker), err)
}

// Detach takes the demux off a trunk, or off a worker, whose clients are unassigned.
func (c *Client) Detach(ctx context.Context, name string) error {
	err := c.call(ctx, http.MethodDelete, "/v1/interfaces/"+url.PathEscape(name), nil, nil)
	return wrap("detaching "+name, err)
}

// Reassign gives an assigned MAC another worker, and other places where it may be: without any, anywhere. Its
// counters stay, and its location if it may still be there.
func (c *Client) Reassign(ctx context.Context, mac, worker string, places ...demux.Place) error {
	return c.assign(ctx, "reassigning", mac, assignRequest{Worker: worker, Reassign: true, Places: places})
}

// Apply gives every MAC of wanted its worker and, with prune, unassigns all others: all of it or, with an
// error, nothing. It returns what changed, or with dryRun what would.
func (c *Client) Apply(ctx context.Context, wanted []demux.Assignment, prune, dryRun bool) (Difference, error) {
	if wanted == nil {
		wanted = []demux.Assignment{}
	}
	var difference Difference
	path := fmt.Sprintf("/v1/assignments?prune=%t&dry_run=%t", prune, dryRun)
	err := c.call(ctx, http.MethodPut, path, map[string][]demux.Assignment{"assignments": wanted}, &difference)
	return difference, wrap("applying assignments", err)
}

// Unassign forgets a MAC, its location and its counters.
func (c *Client) Unassign(ctx context.Context, mac string) error {
	err := c.call(ctx, http.MethodDelete, assignmentPath(mac), nil, nil)
	return wrap("unassigning "+mac, err)
}

// Counters returns everything the dataplane counts.
func (c *Client) Counters(ctx context.Context) (Counters, error) {
	var counters Counters
	body, err := c.CountersText(ctx)
	if err != nil {
		return counters, err
	}
	return counters, wrap("asking for the counters", errors.Join(readCounters(body, &counters), body.Close()))
}

// CountersText returns the JSON of a [Counters] as it arrives. The caller closes it.
func (c *Client) CountersText(ctx context.Context) (io.ReadCloser, error) {
	response, err := c.send(ctx, http.MethodGet, "/v1/counters", nil)
	if err != nil {
		return nil, wrap("asking for the counters", err)
	}
	return response.Body, nil
}

// MetricsText returns what Prometheus reads. The caller closes it.
func (c *Client) MetricsText(ctx context.Context) (io.ReadCloser, error) {
	response, err := c.send(ctx, http.MethodGet, "/metrics", nil)
	if err != nil {
		return nil, wrap("asking for the metrics", err)
	}
	return response.Body, nil
}

func assignmentPath(mac string) string { return "/v1/assignments/" + url.PathEscape(mac) }

// call sends one request and decodes the answer into out, unless out is nil.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	response, err := c.send(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if out == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(response.Body, maxAnswer))
		return err
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(out); err != nil {
		return fmt.Errorf("decoding the answer to %s %s: %w", method, path, err)
	}
	return nil
}

// send returns the response to one request whose status is below 400. The caller closes its body.
func (c *Client) send(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		encoded, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encoding the request: %w", err)
		}
		body = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, fmt.Errorf("building the request: %w", err)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := c.http.Do(request)
	if err != nil {
		// The URL is made up; what the transport says is all that helps.
		if urlError := (*url.Error)(nil); errors.As(err, &urlError) {
			err = urlError.Err
		}
		return nil, err
	}
	if response.StatusCode >= http.StatusBadRequest {
		defer response.Body.Close()
		return nil, decodeError(response)
	}
	return response, nil
}

// decodeError turns a refusal into an *Error, whoever wrote it: the server, or a proxy on the way.
func decodeError(response *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("reading the answer %s: %w", response.Status, err)
	}
	var answer struct {
		Error
		Proxy string `json:"error"`
	}
	_ = json.Unmarshal(text, &answer) // what is no JSON is reported as it is, below
	switch {
	case answer.Message != "" && answer.Code != "":
		return &answer.Error
	case answer.Proxy != "":
		return &Error{Code: CodeInternal, Message: answer.Proxy}
	default:
		return &Error{Code: CodeInternal, Message: strings.TrimSpace(response.Status + ": " + string(text))}
	}
}

// wrap says what was being done, unless the answer does.
func wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	verb, _, _ := strings.Cut(doing, " ")
	if answer, is := errors.AsType[*Error](err); is && strings.HasPrefix(answer.Message, verb+" ") {
		return err
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// dialError is a socket that could not be connected to.
type dialError struct {
	socket string
	err    error
}

func (e *dialError) Error() string {
	// The cause alone: net.OpError repeats the socket's path.
	cause := e.err
	if errno, is := errors.AsType[syscall.Errno](cause); is {
		cause = errno
	}
	advice := ""
	switch {
	case errors.Is(e.err, fs.ErrNotExist) && isServed(e.socket):
		advice = ": `vlandemux run` serves there, but somebody has removed the file; restart it, what is pinned goes on meanwhile"
	case errors.Is(e.err, fs.ErrNotExist), errors.Is(e.err, syscall.ECONNREFUSED):
		advice = ": no `vlandemux run` serves there, anything it has pinned goes on forwarding; start it, or name its socket with --socket"
	case errors.Is(e.err, fs.ErrPermission):
		advice = ": the socket is for root and the --socket-group of `vlandemux run`; use sudo, or be in that group"
	}
	return fmt.Sprintf("connecting to %s: %v%s", e.socket, cause, advice)
}

func (e *dialError) Unwrap() error { return e.err }

// isServed tells whether a process listens on a socket that was made at path, whatever is there now.
func isServed(path string) bool {
	list, _ := os.ReadFile("/proc/net/unix")
	for line := range strings.Lines(string(list)) {
		// Num: RefCount Protocol Flags Type St Inode Path
		if fields := strings.Fields(line); len(fields) == 8 && fields[3] == "00010000" && fields[7] == path { // __SO_ACCEPTCON
			return true
		}
	}
	return false
}

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
