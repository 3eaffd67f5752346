package traffic

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
)

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
