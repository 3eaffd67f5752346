package traffic

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
)

// dialer connects from a local address and port, either of which may be zero.
func dialer(network string, local netip.AddrPort) *net.Dialer {
	d := &net.Dialer{KeepAlive: -1} // keep-alive probes would be frames nobody asked for
	if local.IsValid() || local.Port() != 0 {
		switch network {
		case "tcp":
			d.LocalAddr = net.TCPAddrFromAddrPort(local)
		case "udp":
			d.LocalAddr = net.UDPAddrFromAddrPort(local)
		}
	}
	return d
}

// listen opens a TCP listener; a zero address means every address, of both families.
func listen(ctx context.Context, address netip.AddrPort) (*net.TCPListener, error) {
	config := net.ListenConfig{KeepAlive: -1}
	l, err := config.Listen(ctx, "tcp", listenText(address))
	if err != nil {
		return nil, explainListen("TCP", address, err)
	}
	return l.(*net.TCPListener), nil
}

// explainListen adds what a port below 1024 needs.
func explainListen(protocol string, address netip.AddrPort, err error) error {
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("listening on %s %s: %w; the network namespace needs the sysctl net.ipv4.ip_unprivileged_port_start=0, or the process CAP_NET_BIND_SERVICE",
			protocol, listenText(address), err)
	}
	return fmt.Errorf("listening on %s %s: %w", protocol, listenText(address), err)
}

func listenText(address netip.AddrPort) string {
	if !address.Addr().IsValid() {
		return fmt.Sprintf(":%d", address.Port())
	}
	return address.String()
}

// control does something to a socket's descriptor.
func control(c syscall.Conn, do func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = do(int(fd)) })
	return errors.Join(err, failed)
}

// addrPort is a socket's address; the zero value for anything else.
func addrPort(a net.Addr) netip.AddrPort {
	switch a := a.(type) {
	case *net.TCPAddr:
		return unmap(a.AddrPort())
	case *net.UDPAddr:
		return unmap(a.AddrPort())
	}
	return netip.AddrPort{}
}

// unmap writes an IPv4 address that arrived on a socket of both families as such.
func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
