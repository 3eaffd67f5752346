package traffic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// HTTPGetRequest asks for GET requests, one after another, each over a connection of its own.
type HTTPGetRequest struct {
	URL   string `json:"url"`
	Count int    `json:"count"`
}

// HTTPGetReport holds the replies in the order asked; the requests stop at the first that fails.
type HTTPGetReport struct {
	Replies []HTTPReply `json:"replies"`
}

// HTTPReply is one answer.
type HTTPReply struct {
	Status int `json:"status"`
	// Server is the Server header: the name given to ServeHTTP.
	Server string `json:"server"`
	Body   string `json:"body"`
}

// HTTPServeRequest asks for an HTTP server that names itself in each answer, and serves TCP's checked streams.
type HTTPServeRequest struct {
	// Listen is the address and port; a zero address is every address, a zero port the kernel's choice.
	Listen netip.AddrPort `json:"listen"`
	// SCTP serves associations of SCTP, at an address. Optional: connections of TCP.
	SCTP bool `json:"sctp,omitempty"`
	// Name is the Server header and the body.
	Name string `json:"name"`
}

// HTTPSeen is one request as the server saw it.
type HTTPSeen struct {
	Time   time.Time      `json:"time"`
	Method string         `json:"method"`
	Path   string         `json:"path"`
	Remote netip.AddrPort `json:"remote"`
	Local  netip.AddrPort `json:"local"`
	// Octets is the length of the name it answered with.
	Octets int `json:"octets"`
}

// HTTPServeReport counts what a server has done.
type HTTPServeReport struct {
	Requests uint64 `json:"requests"`
}

// httpTimeout is the longest one request may take.
const httpTimeout = 5 * time.Second

// HTTPGet sends GET requests one after another, each over a connection of its own, and reads each answer to its end. It returns at the first
// that fails; a status other than 200 is no failure. No proxy is used and no redirect followed.
func HTTPGet(ctx context.Context, request HTTPGetRequest) (HTTPGetReport, error) {
	var report HTTPGetReport
	client := &http.Client{
		Transport: &http.Transport{
			DialContext:        dialer("tcp", netip.AddrPort{}).DialContext,
			DisableKeepAlives:  true,
			DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	for i := range request.Count {
		reply, err := httpGet(ctx, client, request.URL)
		if err != nil {
			return report, fmt.Errorf("getting %s, request %d of %d: %w", request.URL, i+1, request.Count, err)
		}
		report.Replies = append(report.Replies, reply)
	}
	return report, nil
}

func httpGet(ctx context.Context, client *http.Client, url string) (HTTPReply, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, httpTimeout, fmt.Errorf("no whole answer within %v", httpTimeout))
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return HTTPReply{}, err
	}
	response, err := client.Do(r)
	if err != nil {
		return HTTPReply{}, explain(ctx, err)
	}
	defer response.Body.Close() //nolint:errcheck // only read
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return HTTPReply{}, explain(ctx, err)
	}
	return HTTPReply{Status: response.StatusCode, Server: response.Header.Get("Server"), Body: string(body)}, nil
}

// explain adds why a context ended to what it did to a socket.
func explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w (%w)", context.Cause(ctx), err)
	}
	return err
}

// ServeHTTP answers every request with the server's name, and those of TCP with a stream, until ctx ends, which is no error. It calls ready once it
// listens, and seen for each request before it is answered, one at a time.
func ServeHTTP(ctx context.Context, request HTTPServeRequest, ready func(netip.AddrPort), seen func(HTTPSeen)) (HTTPServeReport, error) {
	var report HTTPServeReport
	listener, err := listenFor(ctx, request)
	if err != nil {
		return report, fmt.Errorf("serving HTTP: %w", err)
	}
	body := request.Name + "\n"
	var (
		mu    sync.Mutex // guards report and ended, and keeps seen to one call at a time
		ended bool       // a handler that comes late must not call seen any more
	)
	server := &http.Server{
		ReadHeaderTimeout: time.Minute,
		// A handler's context ends with ctx, so that none outlives the server.
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, conn)
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
			remote, _ := netip.ParseAddrPort(r.RemoteAddr)
			mu.Lock()
			if !ended {
				report.Requests++
				seen(HTTPSeen{
					Time: time.Now(), Method: r.Method, Path: r.URL.Path, Remote: unmap(remote), Local: addrPort(local), Octets: len(body),
				})
			}
			mu.Unlock()
			w.Header().Set("Server", request.Name)
			if r.URL.Path == streamPath {
				answerStream(w, r)
				return
			}
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			io.WriteString(w, body) //nolint:errcheck // the client is gone: its own report tells
		}),
	}
	stop := context.AfterFunc(ctx, func() { server.Close() }) //nolint:errcheck // closes the listener, which Serve reports
	defer stop()
	ready(addrPort(listener.Addr()))
	err = server.Serve(listener)
	mu.Lock()
	defer mu.Unlock()
	ended = true
	if ctx.Err() != nil && errors.Is(err, http.ErrServerClosed) {
		return report, nil
	}
	return report, fmt.Errorf("serving HTTP on %s: %w", listener.Addr(), errors.Join(err, server.Close()))
}

func listenFor(ctx context.Context, request HTTPServeRequest) (*net.TCPListener, error) {
	if request.SCTP {
		return listenSCTP(request.Listen)
	}
	return listen(ctx, request.Listen)
}

func httpGetKind() Kind   { return simpleKind("http", HTTPGet) }
func httpServeKind() Kind { return newKind("http-serve", ServeHTTP) }

// HTTPGet sends GET requests and returns at the first that fails.
func (s Sockets) HTTPGet(ctx context.Context, request HTTPGetRequest) (HTTPGetReport, error) {
	return do[HTTPGetReport, struct{}](ctx, s, "http", request, nil)
}

// ServeHTTP starts an HTTP server and returns once it listens. seen, which may be nil, is called for each request in the order seen, in a goroutine
// of the server's. The server ends with ctx or Close.
func (s Sockets) ServeHTTP(ctx context.Context, request HTTPServeRequest, seen func(HTTPSeen)) (Server, error) {
	return s.agent.Serve(ctx, "http-serve", request, decoding(seen))
}
