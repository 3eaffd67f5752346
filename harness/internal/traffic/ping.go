package traffic

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

const (
	minPing      = 8 // a nonce, so that nobody else's reply is taken for ours
	maxPing      = 65499
	maxPingCount = 65536 // sequence numbers are 16 bit
)

// Ping sends echo requests at their interval and returns once every reply is there, or Timeout after the last request. Each reply's octets
// are compared with the request's; a difference is an error, a missing reply is not. It needs CAP_NET_RAW.
func Ping(ctx context.Context, request PingRequest) (PingReport, error) {
	request, err := pingDefaults(request)
	if err != nil {
		return PingReport{}, err
	}
	p, err := openPinger(request)
	if err != nil {
		return PingReport{}, fmt.Errorf("pinging %s: %w", request.Destination, err)
	}
	defer p.conn.Close() //nolint:errcheck // nothing is buffered
	stop := context.AfterFunc(ctx, func() { p.expire(time.Unix(1, 0)) })
	defer stop()

	received := make(chan error, 1)
	go func() { received <- p.receive() }()
	err = p.send(ctx)
	if err == nil {
		p.expire(time.Now().Add(request.Timeout))
	} else {
		p.expire(time.Unix(1, 0))
	}
	err = errors.Join(err, <-received)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return p.report, fmt.Errorf("pinging %s: %w", request.Destination, err)
	}
	return p.report, nil
}

func pingDefaults(r PingRequest) (PingRequest, error) {
	r.Destination, r.Source = r.Destination.Unmap(), r.Source.Unmap()
	if r.Count == 0 {
		r.Count = 1
	}
	if r.Interval == 0 {
		r.Interval = 10 * time.Millisecond
	}
	if r.Timeout == 0 {
		r.Timeout = time.Second
	}
	if r.Size == 0 {
		r.Size = 56
	}
	switch {
	case !r.Destination.IsValid():
		return r, errors.New("pinging: the request has no destination")
	case r.Source.IsValid() && r.Source.Is4() != r.Destination.Is4():
		return r, fmt.Errorf("pinging %s: the source %s is of the other address family", r.Destination, r.Source)
	case r.Count < 0 || r.Count > maxPingCount:
		return r, fmt.Errorf("pinging %s: a count of %d, want 1 to %d", r.Destination, r.Count, maxPingCount)
	case r.Size < minPing || r.Size > maxPing:
		return r, fmt.Errorf("pinging %s: a size of %d octets, want %d to %d", r.Destination, r.Size, minPing, maxPing)
	case r.Interval < 0 || r.Timeout < 0:
		return r, fmt.Errorf("pinging %s: interval %v and timeout %v must not be negative", r.Destination, r.Interval, r.Timeout)
	}
	return r, nil
}

// pinger is one run of Ping: a goroutine sends, another receives.
type pinger struct {
	request  PingRequest
	conn     *icmp.PacketConn
	protocol int
	ask      icmp.Type
	answer   icmp.Type
	id       int
	payload  []byte

	mu     sync.Mutex
	sent   []time.Time // guarded by mu; by sequence number
	seen   []bool      // guarded by mu
	report PingReport  // guarded by mu while both run
}

func openPinger(r PingRequest) (*pinger, error) {
	p := &pinger{request: r, id: int(rand.Uint32() & 0xffff), seen: make([]bool, r.Count), payload: make([]byte, r.Size)}
	fillPattern(p.payload, rand.Uint64(), 0)
	network, local := "ip4:icmp", "0.0.0.0"
	p.protocol, p.ask, p.answer = unix.IPPROTO_ICMP, ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply
	if r.Destination.Is6() {
		network, local = "ip6:ipv6-icmp", "::"
		p.protocol, p.ask, p.answer = unix.IPPROTO_ICMPV6, ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply
	}
	if r.Source.IsValid() {
		local = r.Source.String()
	}
	conn, err := icmp.ListenPacket(network, local)
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("opening a raw socket: %w; the container needs CAP_NET_RAW", err)
	}
	if err != nil {
		return nil, fmt.Errorf("opening a raw socket: %w", err)
	}
	p.conn = conn
	if c := conn.IPv4PacketConn(); c != nil {
		err = c.SetControlMessage(ipv4.FlagTTL, true)
	} else {
		err = conn.IPv6PacketConn().SetControlMessage(ipv6.FlagHopLimit, true)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("asking for the TTL of replies: %w", err), conn.Close())
	}
	return p, nil
}

// expire makes the receiver return at t.
func (p *pinger) expire(t time.Time) {
	p.conn.SetReadDeadline(t) //nolint:errcheck // fails on a closed connection only
}

func (p *pinger) send(ctx context.Context) error {
	destination := &net.IPAddr{IP: p.request.Destination.AsSlice(), Zone: p.request.Destination.Zone()}
	for sequence := range p.request.Count {
		if sequence > 0 {
			if err := pause(ctx, p.request.Interval); err != nil {
				return err
			}
		}
		message := icmp.Message{Type: p.ask, Body: &icmp.Echo{ID: p.id, Seq: sequence, Data: p.payload}}
		octets, err := message.Marshal(nil) // the kernel fills in ICMPv6 checksums
		if err != nil {
			return fmt.Errorf("encoding echo request %d: %w", sequence, err)
		}
		p.mu.Lock()
		p.sent = append(p.sent, time.Now())
		p.mu.Unlock()
		if _, err := p.conn.WriteTo(octets, destination); err != nil {
			return fmt.Errorf("sending echo request %d: %w", sequence, err)
		}
		p.mu.Lock()
		p.report.Sent++
		p.mu.Unlock()
	}
	return nil
}

// receive returns when every reply is there, or with nil when its time is up.
func (p *pinger) receive() error {
	buffer := make([]byte, 1<<16)
	for {
		n, ttl, from, err := p.read(buffer)
		now := time.Now()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receiving echo replies: %w", err)
		}
		message, err := icmp.ParseMessage(p.protocol, buffer[:n])
		if err != nil || message.Type != p.answer {
			continue // a raw socket sees every ICMP message
		}
		echo, ok := message.Body.(*icmp.Echo)
		if !ok || echo.ID != p.id {
			continue
		}
		reply := PingReply{Sequence: echo.Seq, From: from, Octets: len(echo.Data), TTL: ttl}
		complete, err := p.record(reply, echo.Data, now)
		if err != nil || complete {
			return err
		}
	}
}

// read strips the IPv4 header, which raw IPv4 sockets deliver and package net removes.
func (p *pinger) read(buffer []byte) (n, ttl int, from netip.Addr, err error) {
	var peer net.Addr
	if c := p.conn.IPv4PacketConn(); c != nil {
		var control *ipv4.ControlMessage
		if n, control, peer, err = c.ReadFrom(buffer); control != nil {
			ttl = control.TTL
		}
	} else {
		var control *ipv6.ControlMessage
		if n, control, peer, err = p.conn.IPv6PacketConn().ReadFrom(buffer); control != nil {
			ttl = control.HopLimit
		}
	}
	if address, ok := peer.(*net.IPAddr); ok {
		from, _ = netip.AddrFromSlice(address.IP)
		from = from.Unmap().WithZone(address.Zone)
	}
	return n, ttl, from, err
}

// record files a reply; complete says that none is missing any more.
func (p *pinger) record(reply PingReply, data []byte, now time.Time) (complete bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// Someone else's exchange with the same ID has another nonce.
	if len(data) < minPing || binary.BigEndian.Uint64(data) != binary.BigEndian.Uint64(p.payload) {
		return false, nil
	}
	if reply.Sequence >= len(p.sent) {
		return false, fmt.Errorf("a reply from %s to echo request %d, which was not sent", reply.From, reply.Sequence)
	}
	if !bytes.Equal(data, p.payload) {
		return false, fmt.Errorf("the reply from %s to echo request %d does not hold what was sent: %s",
			reply.From, reply.Sequence, firstDifference(data, p.payload))
	}
	reply.RTT = now.Sub(p.sent[reply.Sequence])
	if p.seen[reply.Sequence] {
		reply.Duplicate = true
		p.report.Duplicates++
	} else {
		p.seen[reply.Sequence] = true
		p.report.Received++
	}
	p.report.Replies = append(p.report.Replies, reply)
	return p.report.Received == p.request.Count, nil
}
