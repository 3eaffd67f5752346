package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// frameLength is in octets, without FCS and without the tag.
const frameLength = 60

// burst is how many frames one system call sends at most.
const burst = 64

type mac [6]byte

func (m mac) String() string { return net.HardwareAddr(m[:]).String() }

// clientMAC is the address of client n.
func clientMAC(n int) mac { return numbered(0x02, n) }

// strangerMAC is the address of somebody who is nobody's client.
func strangerMAC(n int) mac { return numbered(0x06, n) }

func numbered(first byte, n int) mac {
	m := mac{first}
	binary.BigEndian.PutUint32(m[2:], uint32(n))
	return m
}

// workerMAC is the address of every worker.
func workerMAC() mac { return mac{2, 0xff, 0, 0, 0, 1} }

// clientVID is the VLAN of client n.
func clientVID(n int) uint16 { return uint16(1 + n%4094) }

// frames says what a sender sends: a frame of each client to its worker, in
// turn, or one to each client.
type frames struct {
	clients   int
	first     int // number of the first client
	tagged    bool
	samePlace bool            // all clients are in one VLAN
	burst     int             // frames a system call sends, 1 to 64
	address   func(n int) mac // of client n
	toClients bool
}

// frame is a frame of the worker to itself: the client's address is filled in later.
func (f frames) frame() []byte {
	frame := make([]byte, 12, frameLength+4)
	for _, at := range []int{0, 6} {
		*(*mac)(frame[at:]) = workerMAC()
	}
	if f.tagged {
		frame = append(frame, 0x81, 0x00, 0, 1)
	}
	frame = append(frame, 0x88, 0xb5) // for experiments
	return frame[:len(frame)+frameLength-14]
}

// sender sends frames through a packet socket that bypasses the qdisc: each
// frame has arrived, or waits for the processor the sender is on, when the
// call returns.
type sender struct {
	fd       int
	frames   frames
	buffers  [][]byte
	messages []message
	next     int
	stride   int
	filled   bool
}

// message is struct mmsghdr.
type message struct {
	header unix.Msghdr
	length uint32
	_      uint32
}

func newSender(ns *namespace, name string, f frames) (*sender, error) {
	s := &sender{fd: -1, frames: f, stride: stride(f.clients)}
	err := ns.do(func() (err error) {
		if s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		index, err := ns.index(name)
		if err != nil {
			return err
		}
		return errors.Join(
			unix.Bind(s.fd, &unix.SockaddrLinklayer{Ifindex: index}),
			unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1),
			unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 64<<20))
	})
	if err != nil {
		return nil, fmt.Errorf("opening packet socket on %s: %w", name, err)
	}
	s.messages = make([]message, f.burst)
	for i := range s.messages {
		frame := f.frame()
		s.buffers = append(s.buffers, frame)
		s.messages[i].header.Iov = &unix.Iovec{Base: &frame[0], Len: uint64(len(frame))}
		s.messages[i].header.Iovlen = 1
	}
	return s, nil
}

// stride visits all n clients once each, far from one another.
func stride(n int) int {
	s := max(1, n*618/1000)
	for gcd(s, n) != 1 {
		s++
	}
	return s
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// fill makes the next burst.
func (s *sender) fill() {
	if s.frames.clients == 1 && s.filled {
		return // all frames are alike
	}
	s.filled = true
	at := 6
	if s.frames.toClients {
		at = 0
	}
	for _, frame := range s.buffers {
		client := s.frames.first + s.next
		*(*mac)(frame[at:]) = s.frames.address(client)
		if s.frames.tagged && !s.frames.samePlace {
			binary.BigEndian.PutUint16(frame[14:], clientVID(client))
		}
		s.next = (s.next + s.stride) % s.frames.clients
	}
}

// send sends n frames, rounded up to whole bursts, and returns how many.
func (s *sender) send(n int) (int, error) {
	sent := 0
	for sent < n {
		s.fill()
		for done := 0; done < len(s.messages); {
			count, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd),
				uintptr(unsafe.Pointer(&s.messages[done])), uintptr(len(s.messages)-done), 0, 0, 0)
			switch errno {
			case 0:
				done += int(count)
			case unix.EINTR, unix.ENOBUFS, unix.EAGAIN:
			default:
				return sent + done, fmt.Errorf("sending frames: %w", errno)
			}
		}
		sent += len(s.messages)
	}
	runtime.KeepAlive(s.buffers)
	return sent, nil
}

// rate sends for a while and returns how many, and the frames a second:
// the median of slices of 128, so that one in which another process had the
// processor does not count.
func (s *sender) rate() (sent int, perSecond float64, err error) {
	var rates []float64
	for start := time.Now(); time.Since(start) < sending; {
		slice := time.Now()
		n, err := s.send(2 * burst)
		sent += n
		if err != nil {
			return sent, 0, err
		}
		rates = append(rates, float64(n)/time.Since(slice).Seconds())
	}
	return sent, median(rates), nil
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

func (s *sender) Close() error { return unix.Close(s.fd) }

// pinned runs f on a thread of its own that stays on one processor.
func pinned(cpu int, f func() error) error {
	return onThread(func() error {
		var set unix.CPUSet
		set.Set(cpu)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			return fmt.Errorf("staying on processor %d: %w", cpu, err)
		}
		return f()
	})
}
