package traffic

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// TCPMode says which way the checked octets flow, seen from the client.
type TCPMode string

// The modes of a TCP exchange.
const (
	Download TCPMode = "download"
	Upload   TCPMode = "upload"
	Echo     TCPMode = "echo"
)

// TCPRequest asks for one connection to a server started by ServeHTTP: one request, whose body and answer are the checked octets.
type TCPRequest struct {
	Remote netip.AddrPort `json:"remote"`
	// Local is the local address and port; a zero address or port is the kernel's choice. Optional.
	Local netip.AddrPort `json:"local,omitzero"`
	Mode  TCPMode        `json:"mode"`
	// SCTP makes the connection an association of SCTP, to a server with SCTP. Optional.
	SCTP bool `json:"sctp,omitempty"`
	// Octets is how many flow (in echo mode: each way).
	Octets uint64 `json:"octets"`
	// Rate paces the side that sends first, in octets per second; 0 is full speed.
	Rate uint64 `json:"rate,omitempty"`
	// Seed chooses the pattern, so that two streams never look alike.
	Seed uint64 `json:"seed,omitempty"`
}

// TCPProgress says how far an exchange has come.
type TCPProgress struct {
	// Octets were received and verified so far.
	Octets uint64 `json:"octets"`
}

// TCPReport is the client's account of one exchange.
type TCPReport struct {
	Local netip.AddrPort `json:"local"`
	// Server is the name given to ServeHTTP.
	Server string `json:"server"`
	// Sent and Received are octets of the pattern. Each received octet was compared; the server compared each one sent.
	Sent     uint64        `json:"sent"`
	Received uint64        `json:"received"`
	Elapsed  time.Duration `json:"elapsed"`
}

const (
	connectTimeout = 5 * time.Second
	idleTimeout    = 10 * time.Second       // without an octet in either direction
	lingerSeconds  = 5                      // closing waits as long for the peer to acknowledge it: the port is free then
	progressEvery  = 100 * time.Millisecond // at least, between two reports
	streamPath     = "/stream"
	verdictTrailer = "Verdict"
	verdictFine    = "fine"
)

// TCP makes one connection to a server started by ServeHTTP, has its octets flow and compares each. progress, which may be nil, is called in this
// goroutine's course, first when the first octets have been received, then at most once in 100 ms.
func TCP(ctx context.Context, request TCPRequest, progress func(TCPProgress)) (TCPReport, error) {
	doing := fmt.Sprintf("%s %s with %s", map[bool]string{false: "TCP", true: "SCTP"}[request.SCTP], request.Mode, request.Remote)
	report := TCPReport{Local: request.Local}
	begin := time.Now()
	err := exchange(ctx, request, &report, progress)
	report.Elapsed = time.Since(begin)
	if err != nil {
		return report, fmt.Errorf("%s from %s: %w", doing, report.Local, explain(ctx, err))
	}
	return report, nil
}

func exchange(ctx context.Context, request TCPRequest, report *TCPReport, progress func(TCPProgress)) error {
	sent, received, method := request.Octets, request.Octets, http.MethodPost
	switch request.Mode {
	case Download:
		sent, method = 0, http.MethodGet
	case Upload:
		received = 0
	case Echo:
	default:
		return fmt.Errorf("unknown mode %q; use %q, %q or %q", request.Mode, Download, Upload, Echo)
	}
	dial := dialer("tcp", request.Local)
	dial.Timeout = connectTimeout
	connected := make(chan idleConn, 1)
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var dialed net.Conn
			var err error
			if request.SCTP {
				dialed, err = dialSCTP(ctx, request.Local, request.Remote)
			} else {
				dialed, err = dial.DialContext(ctx, "tcp", request.Remote.String())
			}
			if err != nil {
				return nil, err
			}
			report.Local = addrPort(dialed.LocalAddr())
			conn := newIdleConn(dialed.(*net.TCPConn))
			connected <- conn
			return conn, errors.Join(conn.extend(), conn.SetLinger(lingerSeconds), pace(conn.TCPConn, request.Rate))
		},
	}}
	query := url.Values{
		"mode": {string(request.Mode)}, "octets": {strconv.FormatUint(request.Octets, 10)},
		"seed": {strconv.FormatUint(request.Seed, 10)}, "rate": {strconv.FormatUint(request.Rate, 10)},
	}
	outgoing := newPattern(request.Seed, sent)
	asked, err := http.NewRequestWithContext(ctx, method, "http://server"+streamPath+"?"+query.Encode(), outgoing.body())
	if err != nil {
		return err
	}
	asked.ContentLength = int64(sent)
	response, err := client.Do(asked)
	if err != nil {
		return err
	}
	defer func() {
		_ = response.Body.Close() // only read
		_ = (<-connected).Close()
	}()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answers %s, as one that has no %s", response.Status, streamPath)
	}
	report.Server = response.Header.Get("Server")
	incoming := verifier{seed: request.Seed, end: received}
	var last time.Time
	_, err = io.Copy(writeFunc(func(p []byte) (int, error) {
		n, err := incoming.Write(p)
		if progress != nil && err == nil && time.Since(last) >= progressEvery {
			last = time.Now()
			progress(TCPProgress{Octets: incoming.offset})
		}
		return n, err
	}), response.Body)
	report.Sent, report.Received = outgoing.made(), incoming.offset
	if err != nil {
		return fmt.Errorf("receiving after %d of %d octets: %w", report.Received, received, err)
	}
	if verdict := response.Trailer.Get(verdictTrailer); verdict != verdictFine {
		return fmt.Errorf("the server says: %s", cmp.Or(verdict, "nothing"))
	}
	return incoming.complete()
}

type writeFunc func([]byte) (int, error)

func (f writeFunc) Write(p []byte) (int, error) { return f(p) }

// idleConn fails once no octet has moved in either direction for the idle timeout.
type idleConn struct {
	*net.TCPConn
	close func() error
}

func newIdleConn(conn *net.TCPConn) idleConn { return idleConn{conn, sync.OnceValue(conn.Close)} }

// Close may be called by several; each returns when the connection is closed.
func (c idleConn) Close() error { return c.close() }

func (c idleConn) extend() error { return c.SetDeadline(time.Now().Add(idleTimeout)) }

func (c idleConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if err == nil {
		err = c.extend()
	}
	return n, err
}

func (c idleConn) Write(p []byte) (int, error) {
	n, err := c.TCPConn.Write(p)
	if err == nil {
		err = c.extend()
	}
	return n, err
}

// ReadFrom writes what it reads in pieces of writeSize, where [net.TCPConn.ReadFrom] would write smaller ones and not extend the timeout.
func (c idleConn) ReadFrom(r io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{c}, r, make([]byte, writeSize))
}

// answerStream is the server's side. The verdict about what it has received follows its answer.
func answerStream(w http.ResponseWriter, r *http.Request) {
	numbers := map[string]uint64{}
	for _, name := range []string{"octets", "seed", "rate"} {
		n, err := strconv.ParseUint(r.URL.Query().Get(name), 10, 64)
		if err != nil {
			http.Error(w, fmt.Sprintf("%s: %v", name, err), http.StatusBadRequest)
			return
		}
		numbers[name] = n
	}
	w.Header().Set("Trailer", verdictTrailer)
	incoming := verifier{seed: numbers["seed"], end: numbers["octets"]}
	answer := http.NewResponseController(w)
	var err error
	switch mode := TCPMode(r.URL.Query().Get("mode")); mode {
	case Download:
		conn, _ := r.Context().Value(connKey{}).(*net.TCPConn)
		if err = pace(conn, numbers["rate"]); err == nil {
			incoming.end = 0
			_, err = io.Copy(w, newPattern(numbers["seed"], numbers["octets"]))
		}
	case Upload:
		_, err = io.Copy(&incoming, r.Body)
	case Echo:
		if err = errors.Join(answer.EnableFullDuplex(), answer.Flush()); err == nil {
			_, err = io.Copy(io.MultiWriter(&incoming, w), r.Body)
		}
	default:
		err = fmt.Errorf("unknown mode %q", mode)
	}
	verdict := verdictFine
	if err = errors.Join(err, incoming.complete()); err != nil {
		verdict = err.Error()
	}
	w.Header().Set(verdictTrailer, verdict)
}

// connKey is where the context of a request has its connection.
type connKey struct{}

// pace has TCP itself space its segments, without a qdisc; at full speed if rate is 0.
func pace(c *net.TCPConn, rate uint64) error {
	if rate == 0 {
		return nil
	}
	if err := control(c, func(fd int) error { return unix.SetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE, rate) }); err != nil {
		return fmt.Errorf("pacing to %d octets a second: %w", rate, err)
	}
	return nil
}

func tcpKind() Kind {
	return newKind("tcp", func(ctx context.Context, r TCPRequest, _ func(netip.AddrPort), progress func(TCPProgress)) (TCPReport, error) {
		return TCP(ctx, r, progress)
	})
}

// TCP makes one connection to a server started by ServeHTTP and returns when its octets have flown and were verified. progress may be nil; it runs
// in this goroutine, first when the first octets have arrived.
func (s Sockets) TCP(ctx context.Context, request TCPRequest, progress func(TCPProgress)) (TCPReport, error) {
	return do[TCPReport](ctx, s, "tcp", request, progress)
}
