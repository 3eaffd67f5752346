package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	stackBuffer = 16 << 20 // octets of packets that may wait in one socket, with what the kernel adds to each
	stackPacket = VirtioNetHeaderLen + MaxPacket + 1
)

// stack is the packets that go on to the stack of a network namespace: a packet
// socket for each EtherType, on all interfaces. Unlike one of ETH_P_ALL, such a
// socket sits behind tc ingress: what a program there drops or redirects never
// gets to it. The kernel has removed the outer tag by then.
type stack struct {
	bell
	point TapPoint
	buf   []byte // used by run alone
	oob   []byte // used by run alone

	mu      sync.Mutex
	sockets map[uint16]int // guarded by mu; descriptors by EtherType, nil once closed
	except  int            // index of the interface that is left out, 0 for none

	// Used by run, and what it calls.
	read, packets, dropped uint64
}

func openStack(point TapPoint) (*stack, error) {
	s := &stack{point: point, buf: make([]byte, stackPacket), oob: make([]byte, 128), sockets: map[uint16]int{}}
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("tapping %s: %w", point, err)
	}
	if point.Except != "" {
		if err := s.leaveOut(); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	if err := s.watch(point.EtherTypes); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *stack) leaveOut() error {
	link, err := net.InterfaceByName(s.point.Except)
	if err != nil {
		return fmt.Errorf("tapping %s: finding interface %q: %w", s.point, s.point.Except, err)
	}
	s.except = link.Index
	return nil
}

// watch returns once packets of these EtherTypes are seen too.
func (s *stack) watch(etherTypes []uint16) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sockets == nil {
		return fmt.Errorf("watching EtherTypes at tap %s: it has ended", s.point)
	}
	for _, t := range etherTypes {
		if _, there := s.sockets[t]; there {
			continue
		}
		fd, err := openStackSocket(t)
		if err != nil {
			return fmt.Errorf("tapping %s: watching EtherType %#04x: %w", s.point, t, err)
		}
		s.sockets[t] = fd
		if err := s.add(fd); err != nil {
			return fmt.Errorf("tapping %s: watching EtherType %#04x: %w", s.point, t, err)
		}
	}
	return nil
}

func openStackSocket(etherType uint16) (fd int, err error) {
	// Protocol 0: nothing arrives before bind.
	if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return -1, fmt.Errorf("opening a packet socket (this needs CAP_NET_RAW): %w", err)
	}
	for _, o := range []struct{ level, name, value int }{
		{unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1},
		{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1},
		{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, stackBuffer},
	} {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return -1, errors.Join(fmt.Errorf("setting option %d of a packet socket: %w", o.name, err), unix.Close(fd))
		}
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(etherType)}); err != nil {
		return -1, errors.Join(fmt.Errorf("binding a packet socket: %w", err), unix.Close(fd))
	}
	return fd, nil
}

func networkOrder(v uint16) uint16 {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		return v
	}
	return bits.ReverseBytes16(v)
}

// descriptors are those of all sockets.
func (s *stack) descriptors() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.sockets))
}

func (s *stack) run(handle func(*tapped)) error {
	for {
		err := s.wait(func() (bool, error) {
			for _, fd := range s.descriptors() {
				if err := s.drain(fd, handle); err != nil {
					return false, err
				}
			}
			return false, nil
		})
		if err != nil {
			return err
		}
		stop, answer := s.hear()
		if stop || answer != nil {
			if err := s.catchUp(handle); err != nil {
				return err
			}
		}
		if stop {
			return nil
		}
		if answer != nil {
			answer()
		}
	}
}

// catchUp hands over what has arrived, and what arrives while it does.
func (s *stack) catchUp(handle func(*tapped)) error {
	for {
		for _, fd := range s.descriptors() {
			if err := s.drain(fd, handle); err != nil {
				return err
			}
			stats, err := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
			if err != nil {
				return fmt.Errorf("asking for a socket's statistics: %w", err)
			}
			s.packets += uint64(stats.Packets) // drops included
			s.dropped += uint64(stats.Drops)
		}
		if s.read+s.dropped >= s.packets {
			return nil
		}
	}
}

func (s *stack) drain(fd int, handle func(*tapped)) error {
	for {
		n, oobn, _, from, err := unix.Recvmsg(fd, s.buf, s.oob, unix.MSG_TRUNC)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENETDOWN):
			continue
		case err != nil:
			return fmt.Errorf("reading a packet: %w", err)
		case n < VirtioNetHeaderLen:
			return fmt.Errorf("reading a packet: %d octets are shorter than its virtio header", n)
		}
		s.read++
		p := tapped{
			data: s.buf[VirtioNetHeaderLen:min(n, len(s.buf))], hdr: ParseVirtioNetHeader(s.buf),
			length: n - VirtioNetHeaderLen, time: timestamp(s.oob[:oobn]), direction: In,
		}
		if at, ok := from.(*unix.SockaddrLinklayer); ok {
			if s.except != 0 && at.Ifindex == s.except {
				continue
			}
			if at.Pkttype == unix.PACKET_OUTGOING {
				p.direction = Out
			}
		}
		handle(&p)
	}
}

// timestamp is when the kernel saw the packet, in nanoseconds since 1970.
func timestamp(oob []byte) int64 {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return time.Now().UnixNano()
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
			seconds, nanoseconds := binary.NativeEndian.Uint64(m.Data), binary.NativeEndian.Uint64(m.Data[8:])
			return int64(seconds)*int64(time.Second) + int64(nanoseconds)
		}
	}
	return time.Now().UnixNano()
}

// again is false: a new one watches no EtherTypes but its own.
func (s *stack) again() bool { return false }

func (s *stack) report(r *TapReport) {
	r.Packets, r.Read, r.Dropped = s.packets, s.read, s.dropped
}

// close does not wait for the end of the sockets: the kernel takes 8 to 16 ms for
// each, until no processor can still be using it.
func (s *stack) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, fd := range s.sockets {
		go unix.Close(fd) //nolint:errcheck // nothing is buffered in it that anybody wants
	}
	s.sockets = nil
	return s.bell.close()
}
