package traffic

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	minDatagram = 16
	maxDatagram = 65507
)

// UDP sends datagrams to an echo server and compares each echo with what was sent. Each begins with its number; the rest is a pattern.
func UDP(ctx context.Context, request UDPRequest) (UDPReport, error) {
	request, err := udpDefaults(request)
	if err != nil {
		return UDPReport{}, err
	}
	doing := fmt.Sprintf("exchanging datagrams with %s", request.Remote)
	dialed, err := dialer("udp", request.Local).DialContext(ctx, "udp", request.Remote.String())
	if err != nil {
		return UDPReport{}, fmt.Errorf("%s: %w", doing, explain(ctx, err))
	}
	conn := dialed.(*net.UDPConn)
	defer conn.Close() //nolint:errcheck // nothing is buffered
	if request.Segments > 1 {
		if err := setSegmentSize(conn, request.Size); err != nil {
			return UDPReport{}, fmt.Errorf("%s: %w", doing, err)
		}
	}
	u := &datagrams{request: request, conn: conn, arrived: make(chan struct{}, 1), seen: make([]bool, request.Count)}
	u.report.Local, u.report.Remote = addrPort(conn.LocalAddr()), addrPort(conn.RemoteAddr())
	stop := context.AfterFunc(ctx, u.expire)
	defer stop()

	begin := time.Now()
	u.received = make(chan struct{})
	go u.receive()
	err = u.send(ctx)
	u.expire()
	<-u.received
	u.report.Elapsed = time.Since(begin)
	for i := range u.report.Sent {
		if !u.seen[i] {
			u.report.Lost = append(u.report.Lost, i)
		}
	}
	if u.failed != nil {
		err = u.failed
	}
	if err != nil {
		return u.report, fmt.Errorf("%s from %s: %w", doing, u.report.Local, explain(ctx, err))
	}
	return u.report, nil
}

func udpDefaults(r UDPRequest) (UDPRequest, error) {
	if r.Count == 0 {
		r.Count = 1
	}
	if r.Size == 0 {
		r.Size = 64
	}
	if r.Segments == 0 {
		r.Segments = 1
	}
	if r.Timeout == 0 {
		r.Timeout = time.Second
	}
	var err error
	switch {
	case !r.Remote.IsValid():
		err = errors.New("the request has no remote address")
	case r.Count < 0 || r.Count > 1<<24:
		err = fmt.Errorf("a count of %d, want 1 to %d", r.Count, 1<<24)
	case r.Size < minDatagram || r.Size > maxDatagram:
		err = fmt.Errorf("a size of %d octets, want %d to %d", r.Size, minDatagram, maxDatagram)
	case r.Segments < 1 || r.Segments > 64:
		err = fmt.Errorf("%d segments, want 1 to 64", r.Segments)
	case r.Segments*r.Size > maxDatagram:
		err = fmt.Errorf("%d segments of %d octets are more than the %d octets that one call takes", r.Segments, r.Size, maxDatagram)
	case r.Interval < 0 || r.Timeout < 0:
		err = fmt.Errorf("interval %v and timeout %v must not be negative", r.Interval, r.Timeout)
	}
	if err != nil {
		return r, fmt.Errorf("exchanging datagrams with %s: %w", r.Remote, err)
	}
	return r, nil
}

// setSegmentSize has the kernel cut each write into datagrams of size octets.
func setSegmentSize(conn *net.UDPConn, size int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	if e := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, size) }); e != nil {
		return e
	}
	if err != nil {
		return fmt.Errorf("setting UDP_SEGMENT to %d octets: %w", size, err)
	}
	return nil
}

// datagrams is one exchange: a goroutine sends, another receives.
type datagrams struct {
	request  UDPRequest
	conn     *net.UDPConn
	arrived  chan struct{} // an echo has arrived since the last look
	received chan struct{} // closed when the receiver has ended

	mu     sync.Mutex
	report UDPReport // guarded by mu while both run, as are the next two
	seen   []bool    // by number
	failed error     // of the receiver
}

// fill writes the datagram with a number.
func (u *datagrams) fill(p []byte, number int) {
	binary.BigEndian.PutUint64(p, uint64(number))
	fillPattern(p[8:], u.request.Seed, uint64(number)*uint64(len(p)))
}

// expire makes the receiver return.
func (u *datagrams) expire() {
	u.conn.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // fails on a closed socket only
}

func (u *datagrams) send(ctx context.Context) error {
	r := u.request
	buffer := make([]byte, r.Segments*r.Size)
	for first := 0; first < r.Count; first += r.Segments {
		if first > 0 && r.Interval > 0 {
			if err := pause(ctx, r.Interval); err != nil {
				return err
			}
		}
		group := min(r.Segments, r.Count-first)
		for i := range group {
			u.fill(buffer[i*r.Size:(i+1)*r.Size], first+i)
		}
		u.mu.Lock()
		u.report.Sent += group // before the echo can arrive
		u.mu.Unlock()
		if _, err := u.conn.Write(buffer[:group*r.Size]); err != nil {
			u.mu.Lock()
			u.report.Sent -= group
			u.mu.Unlock()
			return u.explain(fmt.Errorf("sending datagram %d: %w", first, err))
		}
		if r.Interval == 0 || first+group == r.Count {
			since := first // one that was lost is not waited for again before the end
			if first+group == r.Count {
				since = 0
			}
			if ended, err := u.await(ctx, since); ended || err != nil {
				return err
			}
		}
	}
	return nil
}

// await returns when every echo from number since on is there, when the timeout has passed, or, with ended, when the receiver has failed.
func (u *datagrams) await(ctx context.Context, since int) (ended bool, err error) {
	timer := time.NewTimer(u.request.Timeout)
	defer timer.Stop()
	for {
		u.mu.Lock()
		complete := !slices.Contains(u.seen[since:u.report.Sent], false)
		u.mu.Unlock()
		if complete {
			return false, nil
		}
		select {
		case <-u.arrived:
		case <-timer.C:
			return false, nil
		case <-u.received:
			return true, nil
		case <-ctx.Done():
			return true, context.Cause(ctx)
		}
	}
}

func (u *datagrams) receive() {
	defer close(u.received)
	buffer, want := make([]byte, 1<<16), make([]byte, u.request.Size)
	for {
		n, err := u.conn.Read(buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		u.mu.Lock()
		if err != nil {
			u.failed = u.explain(fmt.Errorf("receiving echoes: %w", err))
		} else {
			u.failed = u.record(buffer[:n], want)
		}
		failed := u.failed != nil
		u.mu.Unlock()
		if failed {
			return
		}
		select {
		case u.arrived <- struct{}{}:
		default: // the sender has not looked since the last one
		}
	}
}

// record files an echo; mu is held.
func (u *datagrams) record(got, want []byte) error {
	if len(got) < minDatagram {
		return fmt.Errorf("an echo of %d octets, shorter than any datagram sent", len(got))
	}
	number := binary.BigEndian.Uint64(got)
	if number >= uint64(u.report.Sent) {
		return fmt.Errorf("an echo of datagram %d, which was not sent", number)
	}
	u.fill(want, int(number))
	if !bytes.Equal(got, want) {
		return fmt.Errorf("the echo of datagram %d does not hold what was sent: %s", number, firstDifference(got, want))
	}
	if u.seen[number] {
		u.report.Duplicates++
		return nil
	}
	u.seen[number] = true
	u.report.Received++
	u.report.Octets += uint64(len(got))
	return nil
}

// explain adds what to do about the errors a UDP socket is likely to have.
func (u *datagrams) explain(err error) error {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w; nobody listens on %s", err, u.request.Remote)
	case errors.Is(err, syscall.EMSGSIZE):
		return fmt.Errorf("%w; a datagram of %d octets does not fit the route's MTU: make it smaller", err, u.request.Size)
	case errors.Is(err, syscall.EIO) && u.request.Segments > 1:
		return fmt.Errorf("%w; before Linux 6.11, UDP_SEGMENT needs an interface with checksum offload: leave its offloads on, or send one by one", err)
	case errors.Is(err, syscall.EINVAL) && u.request.Segments > 1:
		return fmt.Errorf("%w; with UDP_SEGMENT a datagram and its headers must fit the MTU: %d octets do not", err, u.request.Size)
	}
	return err
}
