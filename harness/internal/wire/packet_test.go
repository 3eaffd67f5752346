package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

// packetSocket is an AF_PACKET socket on an interface, or on all of a
// namespace's if it was opened with index 0.
type packetSocket struct {
	fd   int
	name string
}

func openPacket(t *testing.T, ns *namespace, index int) packetSocket {
	t.Helper()
	g := NewWithT(t)
	s := packetSocket{name: ns.node}
	g.Expect(ns.do(func() error {
		var err error
		if s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
			return err
		}
		return unix.Bind(s.fd, &unix.SockaddrLinklayer{Protocol: 0x0300 /* ETH_P_ALL, big endian */, Ifindex: index})
	})).To(Succeed())
	t.Cleanup(s.close)
	return s
}

func (s *packetSocket) close() {
	if s.fd >= 0 {
		unix.Close(s.fd)
		s.fd = -1
	}
}

// seen is a received frame, its accelerated tag put back.
type seen struct {
	at    time.Time
	frame []byte
	out   bool
}

// next waits for a frame that was not sent from the socket's own namespace
// unless outgoing; false means that none came in time.
func (s packetSocket) next(t *testing.T, wait time.Duration) (seen, bool) {
	t.Helper()
	g := NewWithT(t)
	until := time.Now().Add(wait)
	buf, oob := make([]byte, 1<<16), make([]byte, 256)
	for {
		n, oobn, _, from, err := unix.Recvmsg(s.fd, buf, oob, 0)
		if err == unix.EAGAIN {
			left := time.Until(until)
			if left <= 0 {
				return seen{}, false
			}
			unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
			continue
		}
		if err == unix.EINTR || err == unix.ENETDOWN {
			continue
		}
		g.Expect(err).NotTo(HaveOccurred())
		frame := bytes.Clone(buf[:n])
		var at time.Time
		msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
		g.Expect(err).NotTo(HaveOccurred())
		for _, m := range msgs {
			if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS {
				at = time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
			}
			if m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA && binary.NativeEndian.Uint32(m.Data)&unix.TP_STATUS_VLAN_VALID != 0 {
				tag := make([]byte, 4)
				binary.BigEndian.PutUint16(tag, binary.NativeEndian.Uint16(m.Data[18:]))
				binary.BigEndian.PutUint16(tag[2:], binary.NativeEndian.Uint16(m.Data[16:]))
				frame = append(frame[:12:12], append(tag, frame[12:]...)...)
			}
		}
		return seen{at, frame, from.(*unix.SockaddrLinklayer).Pkttype == unix.PACKET_OUTGOING}, true
	}
}

// none checks that no frame arrives before the wait is over.
func (s packetSocket) none(t *testing.T, wait time.Duration) {
	t.Helper()
	if f, ok := s.next(t, wait); ok {
		t.Errorf("a frame at %s where none should be: % x", s.name, f.frame)
	}
}

func (s packetSocket) send(t *testing.T, frame []byte) {
	t.Helper()
	NewWithT(t).Expect(unix.Send(s.fd, frame, 0)).To(Succeed())
}

const testEtherType = 0x88b5

// newFrame is a frame unlike any other of the test run, of 60 octets and its tags.
func newFrame(from, to demux.MAC, tags ...VLAN) []byte {
	return frameOf(rand.Uint32(), 60, from, to, tags...)
}

func frameOf(id uint32, size int, from, to demux.MAC, tags ...VLAN) []byte {
	f := append(append([]byte{}, to[:]...), from[:]...)
	for _, tag := range tags {
		f = binary.BigEndian.AppendUint16(f, tag.Protocol)
		f = binary.BigEndian.AppendUint16(f, tag.VID)
	}
	f = binary.BigEndian.AppendUint16(f, testEtherType)
	f = append(f, fmt.Sprintf("frame %d ", id)...)
	return append(f, make([]byte, max(0, size+4*len(tags)-len(f)))...)
}

// tagged is the frame as it is with a tag pushed.
func tagged(frame []byte, v VLAN) []byte {
	f := bytes.Clone(frame[:12])
	f = binary.BigEndian.AppendUint16(f, v.Protocol)
	f = binary.BigEndian.AppendUint16(f, v.VID)
	return append(f, frame[12:]...)
}

// taps are sockets on the far ends of a lab: what its clients, its worker and
// the host's trunk ends receive.
type taps map[string]packetSocket

func openTaps(t *testing.T, n *Network) taps {
	t.Helper()
	tt := taps{}
	open := func(e end) {
		s := openPacket(t, n.node(e.node), e.index)
		s.name = e.node + "/" + e.name
		tt[s.name] = s
	}
	for _, l := range n.clients {
		open(l.far)
	}
	for _, l := range n.trunks {
		open(l.near)
	}
	for _, l := range n.workers {
		open(l.near)
		open(l.far)
	}
	return tt
}

// expect sends a frame from one tap's interface and demands that it is received
// where want says, as want says, once, and nowhere else.
func (tt taps) expect(t *testing.T, from string, frame []byte, want map[string][]byte) {
	t.Helper()
	g := NewWithT(t)
	sender := tt[from]
	sender.send(t, frame)
	for name := range want {
		g.Expect(tt).To(HaveKey(name))
	}
	for name, tap := range tt {
		if w, ok := want[name]; ok {
			got, in := tap.next(t, time.Minute)
			g.Expect(in).To(BeTrue(), "%s should receive the frame from %s", name, from)
			g.Expect(got.frame).To(Equal(w), "at %s", name)
		}
	}
	// The veths deliver before send returns or soon after; whatever is there
	// now or arrives in a moment is one too many.
	for _, tap := range tt {
		for {
			f, in := tap.next(t, 5*time.Millisecond)
			if !in {
				break
			}
			if !f.out || tap != sender {
				t.Errorf("an unexpected frame at %s, sent from %s: % x", tap.name, from, f.frame)
			}
		}
	}
}
