package traffic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"strings"
	"sync"
	"time"
)

const bodyKept = 4096 // octets of a body in a report

// HTTPGet sends GET requests one after another and reads each answer to its end. It returns at the first that fails; a status other
// than 200 is no failure. No proxy is used and no redirect followed.
func HTTPGet(ctx context.Context, request HTTPGetRequest) (HTTPGetReport, error) {
	if request.Count == 0 {
		request.Count = 1
	}
	if request.Timeout == 0 {
		request.Timeout = 5 * time.Second
	}
	var report HTTPGetReport
	if request.Count < 0 || request.Timeout < 0 {
		return report, fmt.Errorf("getting %s: count %d and timeout %v must not be negative", request.URL, request.Count, request.Timeout)
	}
	transport := &http.Transport{
		DialContext:        dialPolitely(dialer("tcp", request.Local)),
		DisableKeepAlives:  !request.KeepAlive,
		DisableCompression: true,
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	for i := range request.Count {
		reply, err := httpGet(ctx, client, request)
		if err != nil {
			return report, fmt.Errorf("getting %s, request %d of %d: %w", request.URL, i+1, request.Count, err)
		}
		report.Replies = append(report.Replies, reply)
	}
	return report, nil
}

func httpGet(ctx context.Context, client *http.Client, request HTTPGetRequest) (HTTPReply, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, request.Timeout, fmt.Errorf("no whole answer within %v", request.Timeout))
	defer cancel()
	var reply HTTPReply
	begin := time.Now()
	var conn *politeConn
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			reply.Local, reply.Remote = addrPort(info.Conn.LocalAddr()), addrPort(info.Conn.RemoteAddr())
			conn = info.Conn.(*politeConn)
		},
		GotFirstResponseByte: func() { conn.answered.Store(!request.KeepAlive) },
	})
	r, err := http.NewRequestWithContext(traced, http.MethodGet, request.URL, nil)
	if err != nil {
		return reply, err
	}
	response, err := client.Do(r)
	if err != nil {
		return reply, explain(ctx, err)
	}
	defer response.Body.Close() //nolint:errcheck // only read
	start, err := io.ReadAll(io.LimitReader(response.Body, bodyKept))
	if err != nil {
		return reply, explain(ctx, err)
	}
	rest, err := io.Copy(io.Discard, response.Body)
	if err != nil {
		return reply, explain(ctx, err)
	}
	if !request.KeepAlive {
		select {
		case <-conn.closed:
		case <-ctx.Done():
			return reply, context.Cause(ctx)
		}
	}
	reply.Status, reply.Server, reply.Body = response.StatusCode, response.Header.Get("Server"), string(start)
	reply.Octets, reply.Duration = int64(len(start))+rest, time.Since(begin)
	return reply, nil
}

// explain adds why a context ended to what it did to a socket.
func explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w (%w)", context.Cause(ctx), err)
	}
	return err
}

// ServeHTTP answers every request with the server's name until ctx ends, which is no error. It calls ready once it listens, and seen for each
// request before it is answered, one at a time.
func ServeHTTP(ctx context.Context, request HTTPServeRequest, ready func(netip.AddrPort), seen func(HTTPSeen)) (HTTPServeReport, error) {
	var report HTTPServeReport
	if request.BodySize < 0 {
		return report, fmt.Errorf("serving HTTP: the body's size %d is negative", request.BodySize)
	}
	listener, err := listen(ctx, request.Listen)
	if err != nil {
		return report, fmt.Errorf("serving HTTP: %w", err)
	}
	body := request.Name + "\n"
	if missing := request.BodySize - len(body); missing > 0 {
		body += strings.Repeat(".", missing)
	}
	var (
		mu    sync.Mutex // guards report and ended, and keeps seen to one call at a time
		ended bool       // a handler that comes late must not call seen any more
	)
	server := &http.Server{
		ReadHeaderTimeout: time.Minute,
		// A handler's context ends with ctx, so that none outlives the server.
		BaseContext: func(net.Listener) context.Context { return ctx },
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
