package traffic

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// vectorLength is how many packets one system call takes at most.
const vectorLength = 64

// mmsghdr is struct mmsghdr of sendmmsg(2).
type mmsghdr struct {
	header unix.Msghdr
	length uint32
}

// packetSocket is an AF_PACKET socket with room for one vector of packets. Not safe for concurrent use, but for interrupt.
type packetSocket struct {
	iface  string
	file   *os.File // non-blocking, hence waited for by the runtime's poller
	raw    syscall.RawConn
	virtio bool // each packet is preceded by a virtio_net_hdr

	filled  int
	headers [vectorLength][probe.VirtioNetHeaderLen]byte
	buffers [vectorLength][]byte // the socket's own, reused
	frames  [vectorLength][]byte // what is to be sent: a buffer, or the batch's own frame
	vectors [vectorLength][2]unix.Iovec
	msgs    [vectorLength]mmsghdr
}

// openPacketSocket opens a socket that sends out of iface and receives nothing.
func openPacketSocket(iface string, virtio bool) (*packetSocket, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EPERM) {
		return nil, fmt.Errorf("sending frames out of %s: opening a packet socket: %w; the container needs CAP_NET_RAW", iface, err)
	}
	if err != nil {
		return nil, fmt.Errorf("sending frames out of %s: opening a packet socket: %w", iface, err)
	}
	s := &packetSocket{iface: iface, file: os.NewFile(uintptr(fd), "packet socket of "+iface), virtio: virtio}
	if virtio {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
			return nil, errors.Join(fmt.Errorf("sending super-packets out of %s: setting PACKET_VNET_HDR: %w", iface, err), s.Close())
		}
	}
	index, _, err := probe.FindInterface(fd, iface)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("sending frames: in this network namespace: %w", err), s.Close())
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: index}); err != nil {
		return nil, errors.Join(fmt.Errorf("sending frames: binding a packet socket to %s: %w", iface, err), s.Close())
	}
	if s.raw, err = s.file.SyscallConn(); err != nil {
		return nil, errors.Join(fmt.Errorf("sending frames out of %s: %w", iface, err), s.Close())
	}
	return s, nil
}

// Close closes the socket.
func (s *packetSocket) Close() error { return s.file.Close() }

// interrupt makes a waiting flush, and every later one, return.
func (s *packetSocket) interrupt() {
	s.file.SetWriteDeadline(time.Unix(1, 0)) //nolint:errcheck // fails on a closed file only, on which nobody waits
}

// fill builds count packets of the batch, from index first on.
func (s *packetSocket) fill(b *probe.Batch, first, count int) {
	s.filled = min(count, vectorLength)
	for i := range s.filled {
		frame, header := b.Packet(first+i, s.buffers[i])
		if len(b.Raw) == 0 {
			s.buffers[i] = frame[:0]
		}
		s.frames[i] = frame
		vector := &s.vectors[i]
		used := 0
		if s.virtio {
			header.Put(s.headers[i][:])
			vector[0].Base = &s.headers[i][0]
			vector[0].SetLen(len(s.headers[i]))
			used = 1
		}
		vector[used].Base = &frame[0]
		vector[used].SetLen(len(frame))
		s.msgs[i].header.Iov = &vector[0]
		s.msgs[i].header.SetIovlen(used + 1)
	}
}

// flush hands the filled packets to the kernel and says how many it took before the error, if any. EAGAIN it waits out.
func (s *packetSocket) flush(ctx context.Context) (int, error) {
	var taken uintptr
	var errno syscall.Errno
	err := s.raw.Write(func(fd uintptr) bool {
		taken, _, errno = unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&s.msgs[0])), uintptr(s.filled), 0, 0, 0)
		return errno != unix.EAGAIN && errno != unix.EINTR
	})
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case err != nil:
		return 0, fmt.Errorf("waiting for room in the socket's send buffer: %w", err)
	case errno != 0:
		return 0, errno
	}
	return int(taken), nil
}

// retry waits after ENOBUFS, when the first packet that flush did not send was refused by a full queue and is to be sent again;
// any other error it explains.
func (s *packetSocket) retry(ctx context.Context, err error, report *BatchReport) error {
	switch {
	case errors.Is(err, unix.ENOBUFS):
		report.Retries++
		return pause(ctx, backoff)
	case errors.Is(err, unix.EMSGSIZE):
		return fmt.Errorf("a frame of %d octets: %w; the MTU of %s is %d: make the frame smaller or the MTU larger",
			len(s.frames[0]), err, s.iface, s.mtu())
	case errors.Is(err, unix.ENETDOWN), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("%w; %s is down or gone", err, s.iface)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("a frame of %d octets: %w; the kernel finds its headers and virtio_net_hdr inconsistent", len(s.frames[0]), err)
	}
	return err
}

// mtu is for a message only: 0 when it can't be read.
func (s *packetSocket) mtu() int {
	var mtu int
	s.raw.Control(func(fd uintptr) { //nolint:errcheck // for a message only
		request, err := unix.NewIfreq(s.iface)
		if err == nil && unix.IoctlIfreq(int(fd), unix.SIOCGIFMTU, request) == nil {
			mtu = int(request.Uint32())
		}
	})
	return mtu
}

// onWire counts what packet index of the batch, at position slot of the vector, is on the wire.
func (s *packetSocket) onWire(b *probe.Batch, index, slot int) (frames, octets uint64) {
	if !s.virtio {
		return 1, uint64(len(s.frames[slot]))
	}
	for _, frame := range b.Frames(index) {
		frames++
		octets += uint64(len(frame))
	}
	return frames, octets
}
