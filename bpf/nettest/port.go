package nettest

import (
	"cmp"
	"encoding/binary"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const ethPAll = uint16(unix.ETH_P_ALL)<<8 | uint16(unix.ETH_P_ALL)>>8 // network order

// Port is the far end of a wire: it sends frames and keeps all that come in.
type Port struct {
	t       testing.TB
	capture int
	send    int // takes a virtio_net_hdr before each frame
	done    chan struct{}
	stopped chan struct{}

	mu     sync.Mutex // guards frames
	frames [][]byte
	count  int
	octets int
	keep   bool
}

// Open captures on the interface until the test ends: every frame, before any
// program at tc ingress.
func Open(t testing.TB, name string) *Port {
	t.Helper()
	return open(t, name, ethPAll)
}

// OpenStack captures what goes on from the interface to the stack: frames of the
// EtherType that no program at tc ingress dropped or redirected.
func OpenStack(t testing.TB, name string, etherType uint16) *Port {
	t.Helper()
	return open(t, name, etherType<<8|etherType>>8)
}

func open(t testing.TB, name string, protocol uint16) *Port {
	t.Helper()
	link, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatalf("looking up %s: %v", name, err)
	}
	p := &Port{t: t, done: make(chan struct{}), stopped: make(chan struct{}), keep: true}
	p.capture = packetSocket(t, link.Attrs().Index, protocol)
	p.send = packetSocket(t, link.Attrs().Index, 0)
	set := func(fd, level, option, value int) {
		if err := unix.SetsockoptInt(fd, level, option, value); err != nil {
			t.Fatalf("setting up packet socket on %s: %v", name, err)
		}
	}
	set(p.capture, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1)
	set(p.capture, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 256<<20)
	set(p.send, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1)
	timeout := unix.NsecToTimeval(int64(10 * time.Millisecond))
	if err := unix.SetsockoptTimeval(p.capture, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		t.Fatalf("setting up packet socket on %s: %v", name, err)
	}
	go p.run()
	t.Cleanup(func() {
		close(p.done)
		<-p.stopped
		if stats, err := unix.GetsockoptTpacketStats(p.capture, unix.SOL_PACKET, unix.PACKET_STATISTICS); err != nil || stats.Drops > 0 {
			t.Errorf("capture on %s lost frames: %+v, %v", name, stats, err)
		}
		go func() { // the kernel takes its time, and no test needs to wait for it
			unix.Close(p.capture)
			unix.Close(p.send)
		}()
	})
	return p
}

func packetSocket(t testing.TB, ifindex int, protocol uint16) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: ifindex})
	}
	if err != nil {
		t.Fatalf("opening packet socket: %v", err)
	}
	return fd
}

func (p *Port) run() {
	defer close(p.stopped)
	buf, oob := make([]byte, 1<<17), make([]byte, 256)
	for {
		n, oobn, _, from, err := unix.Recvmsg(p.capture, buf, oob, 0)
		if err != nil {
			select {
			case <-p.done:
				return
			default:
			}
			if err != unix.EAGAIN && err != unix.EINTR && err != unix.ENETDOWN {
				p.t.Errorf("capturing: %v", err)
				return
			}
			continue
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		frame := restoreTag(buf[:n], oob[:oobn])
		p.mu.Lock()
		p.count++
		p.octets += len(frame)
		if p.keep {
			p.frames = append(p.frames, frame)
		}
		p.mu.Unlock()
	}
}

// restoreTag copies the frame and puts the tag back that the kernel reports
// beside the data.
func restoreTag(data, oob []byte) []byte {
	frame := append([]byte(nil), data...)
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return frame
	}
	for _, m := range messages {
		if m.Header.Level != unix.SOL_PACKET || m.Header.Type != unix.PACKET_AUXDATA || len(m.Data) < 20 {
			continue
		}
		status := binary.NativeEndian.Uint32(m.Data)
		if status&unix.TP_STATUS_VLAN_VALID == 0 {
			continue
		}
		tag := binary.BigEndian.AppendUint16(nil, binary.NativeEndian.Uint16(m.Data[18:]))
		tag = binary.BigEndian.AppendUint16(tag, binary.NativeEndian.Uint16(m.Data[16:]))
		return append(append(append([]byte(nil), frame[:12]...), tag...), frame[12:]...)
	}
	return frame
}

// Send sends one frame.
func (p *Port) Send(f Frame) {
	p.t.Helper()
	if err := p.SendRaw(GSO{}, f.Bytes()); err != nil {
		p.t.Fatalf("sending frame: %v", err)
	}
}

// GSO is a virtio_net_hdr; the zero value is that of a plain frame.
type GSO struct {
	Flags, Type                                      uint8
	HeaderLength, Size, ChecksumStart, ChecksumPlace uint16
}

// SendRaw sends one frame or super-packet. It may be called by several
// goroutines.
func (p *Port) SendRaw(gso GSO, frame []byte) error {
	b := make([]byte, 0, 10+len(frame))
	b = append(b, gso.Flags, gso.Type)
	for _, v := range []uint16{gso.HeaderLength, gso.Size, gso.ChecksumStart, gso.ChecksumPlace} {
		b = binary.NativeEndian.AppendUint16(b, v)
	}
	b = append(b, frame...)
	for {
		_, err := unix.Write(p.send, b)
		if err == unix.ENOBUFS || err == unix.EINTR {
			continue
		}
		return err
	}
}

// CountOnly stops keeping frames.
func (p *Port) CountOnly() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keep = false
}

// Frames returns all frames that came in so far.
func (p *Port) Frames() [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([][]byte(nil), p.frames...)
}

// Count returns how many frames came in so far.
func (p *Port) Count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// Octets returns the octets of all frames that came in, tags included.
func (p *Port) Octets() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.octets
}

// Reset forgets what came in so far.
func (p *Port) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frames, p.count, p.octets = nil, 0, 0
}

// Tag is a VLAN tag.
type Tag struct{ Protocol, TCI uint16 }

// Frame is what a test sends or expects.
type Frame struct {
	Destination, Source [6]byte
	Tags                []Tag  // outermost first
	EtherType           uint16 // 0: 0x88b5, for experiments
	Payload             []byte
}

// Bytes returns the frame without FCS. It is not padded.
func (f Frame) Bytes() []byte {
	b := append(f.Destination[:len(f.Destination):len(f.Destination)], f.Source[:]...)
	for _, tag := range f.Tags {
		b = binary.BigEndian.AppendUint16(b, tag.Protocol)
		b = binary.BigEndian.AppendUint16(b, tag.TCI)
	}
	b = binary.BigEndian.AppendUint16(b, cmp.Or(f.EtherType, 0x88b5))
	return append(b, f.Payload...)
}

// WithTags returns the frame with other tags.
func (f Frame) WithTags(tags ...Tag) Frame {
	f.Tags = tags
	return f
}

// Rename gives an interface another name. Linux before 6.2 renames none that is up:
// there it is taken down for it, and Rename returns once it sends again.
func Rename(link netlink.Link, name string) error {
	err := netlink.LinkSetName(link, name)
	if !errors.Is(err, unix.EBUSY) {
		return err
	}
	if err := netlink.LinkSetDown(link); err != nil {
		return err
	}
	if err := netlink.LinkSetName(link, name); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return err
	}
	if link.Attrs().OperState != netlink.OperUp {
		return nil
	}
	return AwaitOperational(name)
}
