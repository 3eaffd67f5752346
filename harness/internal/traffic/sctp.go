package traffic

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A socket of SCTP that has one association takes the calls that one of TCP does: package net reads, writes and accepts
// as with TCP, and leaves options that there are not.

const sctpBacklog = 16 // associations that wait to be accepted

// sctpSocket is bound to an address, with a port of the kernel's choice if it has none.
func sctpSocket(address netip.AddrPort) (socket *os.File, fd int, err error) {
	if !address.Addr().IsValid() {
		return nil, -1, errors.New("making a socket of SCTP: it wants a local address")
	}
	at, family := sockaddr(address)
	if fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_SCTP); err != nil {
		return nil, -1, fmt.Errorf("making a socket of SCTP: %w", err)
	}
	socket = os.NewFile(uintptr(fd), "SCTP")
	// What is written at once is one message, which has to fit into the buffer. The kernel doubles the number.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, writeSize); err != nil {
		return nil, -1, errors.Join(fmt.Errorf("enlarging the buffer of a socket of SCTP: %w", err), socket.Close())
	}
	if err := unix.Bind(fd, at); err != nil {
		return nil, -1, errors.Join(explainListen("SCTP", address, err), socket.Close())
	}
	return socket, fd, nil
}

func sockaddr(address netip.AddrPort) (at unix.Sockaddr, family int) {
	if ip := address.Addr().Unmap(); ip.Is4() {
		return &unix.SockaddrInet4{Port: int(address.Port()), Addr: ip.As4()}, unix.AF_INET
	}
	return &unix.SockaddrInet6{Port: int(address.Port()), Addr: address.Addr().As16()}, unix.AF_INET6
}

func listenSCTP(address netip.AddrPort) (*net.TCPListener, error) {
	socket, fd, err := sctpSocket(address)
	if err != nil {
		return nil, err
	}
	defer socket.Close() //nolint:errcheck // the listener has a descriptor of its own
	if err := unix.Listen(fd, sctpBacklog); err != nil {
		return nil, explainListen("SCTP", address, err)
	}
	listener, err := net.FileListener(socket)
	if err != nil {
		return nil, fmt.Errorf("listening on SCTP %s: %w", address, err)
	}
	return listener.(*net.TCPListener), nil
}

func dialSCTP(ctx context.Context, local, remote netip.AddrPort) (net.Conn, error) {
	socket, _, err := sctpSocket(local)
	if err != nil {
		return nil, err
	}
	defer socket.Close() //nolint:errcheck // the connection has a descriptor of its own
	if err := socket.SetWriteDeadline(time.Now().Add(connectTimeout)); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { socket.SetWriteDeadline(time.Unix(1, 0)) }) //nolint:errcheck // fails on a closed socket only
	defer stop()
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil, err
	}
	at, _ := sockaddr(remote)
	asked := false
	waiting := raw.Write(func(fd uintptr) bool {
		if !asked { // from here on, the poller tells when it is done
			asked = true
			err = unix.Connect(int(fd), at)
			return !errors.Is(err, unix.EINPROGRESS)
		}
		var number int
		if number, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR); err == nil && number != 0 {
			err = unix.Errno(number)
		}
		return true
	})
	if waiting != nil {
		err = waiting
	}
	if err != nil {
		return nil, fmt.Errorf("connecting from %s to %s: %w", local, remote, err)
	}
	return net.FileConn(socket)
}
