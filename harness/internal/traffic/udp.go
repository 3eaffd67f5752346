package traffic

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// UDPRequest asks for datagrams to an echo server started by ServeUDP.
type UDPRequest struct {
	Remote netip.AddrPort `json:"remote"`
	// Local is the local address and port; a zero address or port is the kernel's choice. Optional.
	Local netip.AddrPort `json:"local,omitzero"`
	// Count is the number of datagrams, at least 1.
	Count int `json:"count"`
	// Size is the number of octets in each datagram, 16 to 65507.
	Size int `json:"size"`
	// Segments is how many datagrams the kernel is given at once, as one super-packet (UDP_SEGMENT). Optional: one.
	Segments int `json:"segments,omitempty"`
	// Timeout is how long to wait for an echo before the next datagram is sent; 0 means 1 s.
	Timeout time.Duration `json:"timeout,omitempty"`
	// Seed chooses the contents, so that two exchanges never look alike.
	Seed uint64 `json:"seed,omitempty"`
}

// UDPReport counts an exchange. A lost echo is no error: Lost tells. Wrong contents are an error.
type UDPReport struct {
	Local netip.AddrPort `json:"local"`
	// Sent and Received are datagrams; each received one was compared with what was sent.
	Sent       int `json:"sent"`
	Received   int `json:"received"`
	Duplicates int `json:"duplicates"`
	// Lost are the numbers (from 0) of the datagrams whose echo had not come when the exchange ended, in order.
	Lost []int `json:"lost,omitempty"`
}

const (
	minDatagram = 16
	maxDatagram = 65507
)

// UDP sends datagrams to an echo server, one after another, and compares each echo with what was sent. Each begins with its number; the rest is a
// pattern.
func UDP(ctx context.Context, request UDPRequest) (UDPReport, error) {
	doing := fmt.Sprintf("exchanging datagrams with %s", request.Remote)
	request.Timeout, request.Segments = cmp.Or(request.Timeout, time.Second), max(request.Segments, 1)
	if !request.Remote.IsValid() || request.Count < 1 || request.Segments*request.Size > maxDatagram || request.Size < minDatagram || request.Size > maxDatagram || request.Timeout < 0 {
		return UDPReport{}, fmt.Errorf("%s: it takes a remote address, a count of at least 1 (got %d), a size of %d to %d octets (got %d, %d at once), and a timeout (%v) that is not negative",
			doing, request.Count, minDatagram, maxDatagram, request.Size, request.Segments, request.Timeout)
	}
	dialed, err := dialer("udp", request.Local).DialContext(ctx, "udp", request.Remote.String())
	if err != nil {
		return UDPReport{}, fmt.Errorf("%s: %w", doing, explain(ctx, err))
	}
	x := &datagrams{request: request, conn: dialed.(*net.UDPConn), seen: make([]bool, request.Count), buffer: make([]byte, 1<<16)}
	defer x.conn.Close()                                                                //nolint:errcheck // nothing is buffered
	stop := context.AfterFunc(ctx, func() { x.conn.SetWriteDeadline(time.Unix(1, 0)) }) //nolint:errcheck // fails on a closed socket only
	defer stop()
	x.report.Local = addrPort(x.conn.LocalAddr())
	if request.Segments > 1 {
		if err := x.segment(); err != nil {
			return x.report, fmt.Errorf("%s in super-packets: %w", doing, err)
		}
	}
	if err := x.run(ctx); err != nil {
		return x.report, fmt.Errorf("%s from %s: %w", doing, x.report.Local, explain(ctx, err))
	}
	return x.report, nil
}

type datagrams struct {
	request UDPRequest
	conn    *net.UDPConn
	report  UDPReport
	seen    []bool // by number
	buffer  []byte
}

func (x *datagrams) run(ctx context.Context) error {
	for number := 0; number < x.request.Count; number = x.report.Sent {
		var packet []byte
		for range min(x.request.Segments, x.request.Count-number) {
			packet = append(packet, x.datagram(x.report.Sent)...)
			x.report.Sent++
		}
		if _, err := x.conn.Write(packet); err != nil {
			return x.explain(fmt.Errorf("sending datagram %d: %w", number, err))
		}
		if err := x.receive(ctx, func() bool { return !slices.Contains(x.seen[number:x.report.Sent], false) }); err != nil {
			return err
		}
	}
	// Echoes that were given up may yet have come.
	if err := x.receive(ctx, func() bool { return x.report.Received == x.report.Sent }); err != nil {
		return err
	}
	for number, seen := range x.seen {
		if !seen {
			x.report.Lost = append(x.report.Lost, number)
		}
	}
	return nil
}

// segment makes the kernel cut what it is given into datagrams.
func (x *datagrams) segment() error {
	return control(x.conn, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT, x.request.Size) })
}

func (x *datagrams) datagram(number int) []byte {
	d := binary.BigEndian.AppendUint64(make([]byte, 0, x.request.Size), uint64(number))[:x.request.Size]
	fillPattern(d[8:], x.request.Seed, uint64(number)*uint64(len(d)))
	return d
}

// receive takes echoes until they are enough or the timeout has passed.
func (x *datagrams) receive(ctx context.Context, enough func() bool) error {
	if err := x.conn.SetReadDeadline(time.Now().Add(x.request.Timeout)); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { x.conn.SetReadDeadline(time.Unix(1, 0)) })() //nolint:errcheck // fails on a closed socket only
	for !enough() {
		n, err := x.conn.Read(x.buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return context.Cause(ctx)
		}
		if err != nil {
			return x.explain(fmt.Errorf("receiving echoes: %w", err))
		}
		if err := x.record(x.buffer[:n]); err != nil {
			return err
		}
	}
	return nil
}

func (x *datagrams) record(got []byte) error {
	if len(got) < minDatagram {
		return fmt.Errorf("an echo of %d octets, shorter than any datagram sent", len(got))
	}
	number := binary.BigEndian.Uint64(got)
	if number >= uint64(x.report.Sent) {
		return fmt.Errorf("an echo of datagram %d, which was not sent", number)
	}
	if want := x.datagram(int(number)); !bytes.Equal(got, want) {
		return fmt.Errorf("the echo of datagram %d does not hold what was sent: %s", number, firstDifference(got, want))
	}
	if x.seen[number] {
		x.report.Duplicates++
		return nil
	}
	x.seen[number] = true
	x.report.Received++
	return nil
}

// explain adds what to do about the errors a UDP socket is likely to have.
func (x *datagrams) explain(err error) error {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w; nobody listens on %s", err, x.request.Remote)
	case errors.Is(err, syscall.EMSGSIZE):
		return fmt.Errorf("%w; a datagram of %d octets does not fit the route's MTU: make it smaller", err, x.request.Size)
	}
	return err
}

func udpKind() Kind { return simpleKind("udp", UDP) }

// UDP exchanges datagrams with a server started by ServeUDP.
func (s Sockets) UDP(ctx context.Context, request UDPRequest) (UDPReport, error) {
	return do[UDPReport, struct{}](ctx, s, "udp", request, nil)
}

// UDPServeRequest asks for an echo server.
type UDPServeRequest struct {
	// Listen is the address and port; a zero port is the kernel's choice. On a zero address, which is every address, echoes leave from the
	// one that the kernel's routes prefer.
	Listen netip.AddrPort `json:"listen"`
}

// UDPServeReport counts what a server has done.
type UDPServeReport struct {
	Datagrams uint64 `json:"datagrams"`
	Octets    uint64 `json:"octets"`
	// Failed are datagrams whose echo could not be sent; FirstError says why of the first.
	Failed     uint64 `json:"failed"`
	FirstError string `json:"first_error,omitempty"`
}

// ServeUDP sends every datagram back to where it came from until ctx ends, which is no error. It calls ready once it listens.
func ServeUDP(ctx context.Context, request UDPServeRequest, ready func(netip.AddrPort), _ func(struct{})) (UDPServeReport, error) {
	var report UDPServeReport
	var config net.ListenConfig
	listening, err := config.ListenPacket(ctx, "udp", listenText(request.Listen))
	if err != nil {
		return report, fmt.Errorf("echoing datagrams: %w", explainListen("UDP", request.Listen, err))
	}
	conn := listening.(*net.UDPConn)
	defer conn.Close()                                                               //nolint:errcheck // nothing is buffered
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) }) //nolint:errcheck // fails on a closed socket only
	defer stop()
	ready(addrPort(conn.LocalAddr()))

	buffer := make([]byte, 1<<16)
	for {
		n, peer, err := conn.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil {
			return report, nil
		}
		if err != nil {
			return report, fmt.Errorf("echoing datagrams on %s: %w", conn.LocalAddr(), err)
		}
		// A peer that can't be answered is no reason to leave the others alone.
		if _, err := conn.WriteToUDPAddrPort(buffer[:n], peer); err != nil {
			if report.Failed++; report.Failed == 1 {
				report.FirstError = err.Error()
			}
			continue
		}
		report.Datagrams++
		report.Octets += uint64(n)
	}
}

func udpServeKind() Kind { return newKind("udp-serve", ServeUDP) }

// ServeUDP starts an echo server and returns once it listens. The server ends with ctx or Close.
func (s Sockets) ServeUDP(ctx context.Context, request UDPServeRequest) (Server, error) {
	return s.agent.Serve(ctx, "udp-serve", request, nil)
}
