package traffic

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
)

// TCPMode says which way the checked octets flow, seen from the client.
type TCPMode string

// The modes of a TCP exchange.
const (
	Download TCPMode = "download"
	Upload   TCPMode = "upload"
	Echo     TCPMode = "echo"
)

// TCPRequest asks for one connection to a server started by ServeTCP.
type TCPRequest struct {
	Remote netip.AddrPort `json:"remote"`
	// Local is the local address and port; a zero address or port is the kernel's choice. Optional.
	Local netip.AddrPort `json:"local,omitzero"`
	Mode  TCPMode        `json:"mode"`
	// Octets is how many flow (in echo mode: each way).
	Octets uint64 `json:"octets"`
	// Rate paces the sending side, in octets per second; 0 is full speed.
	Rate uint64 `json:"rate,omitempty"`
	// Seed chooses the pattern, so that two streams never look alike.
	Seed uint64 `json:"seed,omitempty"`
	// IdleTimeout ends the exchange once no octet has moved for that long; 0 means 10 s.
	IdleTimeout time.Duration `json:"idle_timeout,omitempty"`
}

// TCPProgress says how far an exchange has come.
type TCPProgress struct {
	Local netip.AddrPort `json:"local"`
	// Octets were verified so far (upload: written so far).
	Octets  uint64        `json:"octets"`
	Elapsed time.Duration `json:"elapsed"`
}

// TCPReport is the client's account of one exchange.
type TCPReport struct {
	Local  netip.AddrPort `json:"local"`
	Remote netip.AddrPort `json:"remote"`
	// Server is the name given to ServeTCP.
	Server string `json:"server"`
	// Sent and Received are octets of the pattern. Each received octet was compared; in an upload the server compared each one sent.
	Sent     uint64        `json:"sent"`
	Received uint64        `json:"received"`
	Elapsed  time.Duration `json:"elapsed"`
	// Retransmits are segments this side sent again (TCP_INFO); the server's are in its TCPServed.
	Retransmits uint32 `json:"retransmits"`
}

const (
	connectTimeout = 5 * time.Second
	defaultIdle    = 10 * time.Second
	progressEvery  = 100 * time.Millisecond // at least, between two reports
)

// TCP makes one connection to a server started by ServeTCP, has its octets flow and compares each. progress, which may be nil, is called in this
// goroutine's course, first when the first octets have moved, then at most once in 100 ms, and does not outlive the call.
func TCP(ctx context.Context, request TCPRequest, progress func(TCPProgress)) (TCPReport, error) {
	if request.IdleTimeout == 0 {
		request.IdleTimeout = defaultIdle
	}
	doing := fmt.Sprintf("TCP %s with %s", request.Mode, request.Remote)
	hello, err := greeting{mode: request.Mode, seed: request.Seed, octets: request.Octets, rate: request.Rate}.encode()
	if err != nil {
		return TCPReport{}, fmt.Errorf("%s: %w", doing, err)
	}
	dial := dialer("tcp", request.Local)
	dial.Timeout = connectTimeout
	dialed, err := dial.DialContext(ctx, "tcp", request.Remote.String())
	if err != nil {
		return TCPReport{}, fmt.Errorf("%s: %w", doing, explain(ctx, err))
	}
	conn := idleConn{TCPConn: dialed.(*net.TCPConn), idle: request.IdleTimeout}
	defer conn.Close() //nolint:errcheck // everything that mattered was acknowledged
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()

	x := &exchange{request: request, conn: conn, begin: time.Now(), progress: progress}
	x.report.Local, x.report.Remote = addrPort(conn.LocalAddr()), addrPort(conn.RemoteAddr())
	err = x.run(hello)
	x.report.Elapsed = time.Since(x.begin)
	x.report.Retransmits = retransmits(conn.TCPConn)
	if err != nil {
		return x.report, fmt.Errorf("%s from %s: %w", doing, x.report.Local, explain(ctx, err))
	}
	return x.report, nil
}

// exchange is the client's side of one connection.
type exchange struct {
	request  TCPRequest
	conn     idleConn
	begin    time.Time
	progress func(TCPProgress)
	last     time.Time // of the last progress
	report   TCPReport
}

func (x *exchange) run(hello []byte) error {
	if _, err := x.conn.Write(hello); err != nil {
		return fmt.Errorf("greeting the server: %w", err)
	}
	var err error
	if x.report.Server, err = readText(x.conn); err != nil {
		return fmt.Errorf("reading the server's name: %w", whole(err))
	}
	r := x.request
	switch r.Mode {
	case Download:
		err = receivePattern(x.conn, r.Seed, r.Octets, &x.report.Received, func([]byte) error { x.moved(x.report.Received); return nil })
	case Upload:
		err = sendPattern(x.conn, r.Seed, r.Octets, r.Rate, &x.report.Sent, func() { x.moved(x.report.Sent) })
	case Echo:
		err = x.echo()
	}
	if err != nil {
		return err
	}
	if r.Mode != Download {
		if err := x.verdict(); err != nil {
			return err
		}
	}
	// The server closes first. One octet more than was asked for is as wrong as one less.
	if n, err := x.conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		return fmt.Errorf("after the last octet: %d octets too many, and %w where the end of the stream should be", n, orNothing(err))
	}
	return nil
}

// echo sends and receives at the same time.
func (x *exchange) echo() error {
	r := x.request
	sent := make(chan error, 1)
	go func() {
		err := sendPattern(x.conn, r.Seed, r.Octets, r.Rate, &x.report.Sent, func() {})
		if err != nil {
			x.conn.Close() //nolint:errcheck // so that the receiver ends; err tells
		}
		sent <- err
	}()
	err := receivePattern(x.conn, r.Seed, r.Octets, &x.report.Received, func([]byte) error { x.moved(x.report.Received); return nil })
	if err != nil {
		x.conn.Close() //nolint:errcheck // so that the sender ends; err tells
	}
	if sending := <-sent; sending != nil && !errors.Is(sending, net.ErrClosed) {
		return sending
	}
	return err
}

// verdict reads how much the server verified.
func (x *exchange) verdict() error {
	var verified [8]byte
	if _, err := io.ReadFull(x.conn, verified[:]); err != nil {
		return fmt.Errorf("reading the server's verdict: %w", whole(err))
	}
	text, err := readText(x.conn)
	if err != nil {
		return fmt.Errorf("reading the server's verdict: %w", whole(err))
	}
	if got := binary.BigEndian.Uint64(verified[:]); text != "" || got != x.request.Octets {
		return fmt.Errorf("the server verified %d of %d octets: %s", got, x.request.Octets, text)
	}
	return nil
}

func (x *exchange) moved(octets uint64) {
	now := time.Now()
	if x.progress == nil || !x.last.IsZero() && now.Sub(x.last) < progressEvery {
		return
	}
	x.last = now
	x.progress(TCPProgress{Local: x.report.Local, Octets: octets, Elapsed: now.Sub(x.begin)})
}

var errNothing = errors.New("no error")

func orNothing(err error) error {
	if err == nil {
		return errNothing
	}
	return err
}

func tcpKind() Kind {
	return newKind("tcp", func(ctx context.Context, r TCPRequest, _ func(netip.AddrPort), progress func(TCPProgress)) (TCPReport, error) {
		return TCP(ctx, r, progress)
	})
}

// TCP makes one connection to a server started by ServeTCP and returns when its octets have flown and were verified. progress may be nil; it runs
// in this goroutine, first when the first octets have arrived.
func (s Sockets) TCP(ctx context.Context, request TCPRequest, progress func(TCPProgress)) (TCPReport, error) {
	return do[TCPReport](ctx, s, "tcp", request, progress)
}
