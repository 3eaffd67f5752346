package traffic

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// TCPServeRequest asks for a server of checked streams: each connection tells it the mode, so one server does all of them.
type TCPServeRequest struct {
	// Listen is the address and port; a zero address is every address, a zero port the kernel's choice.
	Listen netip.AddrPort `json:"listen"`
	// Name is told to each client.
	Name string `json:"name"`
	// IdleTimeout ends a connection once no octet has moved for that long; 0 means 10 s.
	IdleTimeout time.Duration `json:"idle_timeout,omitempty"`
}

// TCPServed is the server's account of one connection that has ended.
type TCPServed struct {
	Local       netip.AddrPort `json:"local"`
	Remote      netip.AddrPort `json:"remote"`
	Mode        TCPMode        `json:"mode"`
	Sent        uint64         `json:"sent"`
	Received    uint64         `json:"received"`
	Elapsed     time.Duration  `json:"elapsed"`
	Retransmits uint32         `json:"retransmits"`
	// Error says why the connection ended early; empty otherwise.
	Error string `json:"error,omitempty"`
}

// TCPServeReport counts what a server has done.
type TCPServeReport struct {
	Connections uint64 `json:"connections"`
	Sent        uint64 `json:"sent"`
	Received    uint64 `json:"received"`
}

// ServeTCP serves checked streams until ctx ends, which is no error, and has closed every connection when it returns. It calls ready once it
// listens, and served for each connection that has ended, one at a time.
func ServeTCP(ctx context.Context, request TCPServeRequest, ready func(netip.AddrPort), served func(TCPServed)) (TCPServeReport, error) {
	if request.IdleTimeout == 0 {
		request.IdleTimeout = defaultIdle
	}
	var report TCPServeReport
	listener, err := listen(ctx, request.Listen)
	if err != nil {
		return report, fmt.Errorf("serving TCP streams: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { listener.Close() }) //nolint:errcheck // Accept reports it
	defer stop()
	ready(addrPort(listener.Addr()))

	var (
		mu          sync.Mutex // guards report, and keeps served to one call at a time
		connections sync.WaitGroup
	)
	for {
		var conn *net.TCPConn
		if conn, err = listener.AcceptTCP(); err != nil {
			break
		}
		connections.Go(func() {
			account := serveStream(ctx, conn, request)
			mu.Lock()
			defer mu.Unlock()
			report.Connections++
			report.Sent += account.Sent
			report.Received += account.Received
			served(account)
		})
	}
	listener.Close() //nolint:errcheck // closed already when ctx ended
	connections.Wait()
	if ctx.Err() != nil {
		return report, nil
	}
	return report, fmt.Errorf("serving TCP streams on %s: accepting: %w", listener.Addr(), err)
}

// serveStream serves one connection.
func serveStream(ctx context.Context, raw *net.TCPConn, request TCPServeRequest) TCPServed {
	conn := idleConn{TCPConn: raw, idle: request.IdleTimeout}
	defer conn.Close() //nolint:errcheck // the peer's own report tells
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	account := TCPServed{Local: addrPort(conn.LocalAddr()), Remote: addrPort(conn.RemoteAddr())}
	begin := time.Now()
	err := answerStream(conn, request.Name, &account)
	account.Elapsed = time.Since(begin)
	account.Retransmits = retransmits(raw)
	if err != nil {
		account.Error = explain(ctx, err).Error()
	}
	return account
}

func answerStream(conn idleConn, name string, account *TCPServed) error {
	var hello [greetingLength]byte
	if _, err := io.ReadFull(conn, hello[:]); err != nil {
		return fmt.Errorf("reading the greeting: %w", whole(err))
	}
	asked, err := decodeGreeting(hello)
	if err != nil {
		return err
	}
	account.Mode = asked.mode
	if _, err := conn.Write(appendText(nil, name)); err != nil {
		return fmt.Errorf("greeting the client: %w", err)
	}
	if asked.mode == Download {
		if err := sendPattern(conn, asked.seed, asked.octets, asked.rate, &account.Sent, func() {}); err != nil {
			return err
		}
		return finish(conn)
	}
	var then func([]byte) error
	if asked.mode == Echo {
		then = func(part []byte) error {
			n, err := conn.Write(part)
			account.Sent += uint64(n)
			if err != nil {
				return fmt.Errorf("echoing after %d octets: %w", account.Sent, err)
			}
			return nil
		}
	}
	received := receivePattern(conn, asked.seed, asked.octets, &account.Received, then)
	text := ""
	if received != nil {
		text = received.Error()
	}
	verdict := appendText(binary.BigEndian.AppendUint64(nil, account.Received), text)
	if _, err := conn.Write(verdict); err != nil {
		return errors.Join(received, fmt.Errorf("sending the verdict: %w", err))
	}
	if received != nil {
		return received
	}
	return finish(conn)
}

// finish ends the stream and waits for the peer to have read it all: closing at once would forget the retransmits to come.
func finish(conn idleConn) error {
	if err := conn.CloseWrite(); err != nil {
		return fmt.Errorf("ending the stream: %w", err)
	}
	if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		return fmt.Errorf("waiting for the peer to close: %d octets too many, %w", n, orNothing(err))
	}
	return nil
}

func tcpServeKind() Kind { return newKind("tcp-serve", ServeTCP) }

// ServeTCP starts a server of checked streams and returns once it listens. served, which may be nil, is called for each connection that has ended,
// in a goroutine of the server's. The server ends with ctx or Close.
func (s Sockets) ServeTCP(ctx context.Context, request TCPServeRequest, served func(TCPServed)) (Server, error) {
	return s.agent.Serve(ctx, "tcp-serve", request, decoding(served))
}
