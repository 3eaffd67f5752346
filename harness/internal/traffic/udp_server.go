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

// ServeUDP sends every datagram back to where it came from until ctx ends, which is no error. It calls ready once it listens, and heard for
// each peer it hears for the first time, both in this goroutine.
func ServeUDP(ctx context.Context, request UDPServeRequest, ready func(netip.AddrPort), heard func(UDPPeer)) (UDPServeReport, error) {
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

	peers := make(map[netip.AddrPort]struct{})
	buffer := make([]byte, 1<<16)
	for {
		n, peer, err := conn.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil {
			return report, nil
		}
		if err != nil {
			return report, fmt.Errorf("echoing datagrams on %s: %w", conn.LocalAddr(), err)
		}
		if _, known := peers[peer]; !known {
			peers[peer] = struct{}{}
			heard(UDPPeer{Time: time.Now(), Remote: unmap(peer)})
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
