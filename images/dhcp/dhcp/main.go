// Command dhcp is a DHCP server and client for the nodes of a lab, on their eth0:
//
//	dhcp server ADDRESS LEASE   leases one address to whoever asks
//	dhcp client                 asks once and prints what it got; it configures nothing
//	dhcp idle                   does nothing, so that a client can be run beside it
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
)

const (
	eth0      = "eth0"
	leaseTime = time.Hour
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "dhcp:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "idle":
		time.Sleep(math.MaxInt64)
	case len(args) == 1 && args[0] == "client":
		return lease()
	case len(args) == 3 && args[0] == "server":
		self, err := netip.ParseAddr(args[1])
		if err != nil {
			return err
		}
		offered, err := netip.ParseAddr(args[2])
		if err != nil {
			return err
		}
		return serve(self, offered)
	}
	return errors.New("usage: dhcp server ADDRESS LEASE | client | idle")
}

func lease() error {
	client, err := nclient4.New(eth0)
	if err != nil {
		return fmt.Errorf("opening a DHCP client on %s: %w", eth0, err)
	}
	defer client.Close() //nolint:errcheck // the process ends
	got, err := client.Request(context.Background())
	if err != nil {
		return fmt.Errorf("asking for a lease on %s: %w", eth0, err)
	}
	fmt.Printf("lease of %s obtained from %s\n", got.ACK.YourIPAddr, got.ACK.ServerIdentifier())
	return nil
}

func serve(self, offered netip.Addr) error {
	answer := func(conn net.PacketConn, peer net.Addr, request *dhcpv4.DHCPv4) {
		kinds := map[dhcpv4.MessageType]dhcpv4.MessageType{
			dhcpv4.MessageTypeDiscover: dhcpv4.MessageTypeOffer, dhcpv4.MessageTypeRequest: dhcpv4.MessageTypeAck,
		}
		kind, known := kinds[request.MessageType()]
		if !known {
			return
		}
		reply, err := dhcpv4.NewReplyFromRequest(request, dhcpv4.WithMessageType(kind), dhcpv4.WithYourIP(offered.AsSlice()),
			dhcpv4.WithServerIP(self.AsSlice()), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(self.AsSlice())),
			dhcpv4.WithLeaseTime(uint32(leaseTime.Seconds())), dhcpv4.WithNetmask(net.CIDRMask(24, 32)))
		if err == nil {
			_, err = conn.WriteTo(reply.ToBytes(), peer)
		}
		if err != nil {
			slog.Error("answering a DHCP request", "peer", peer, "error", err)
		}
	}
	server, err := server4.NewServer(eth0, &net.UDPAddr{IP: net.IPv4zero, Port: dhcpv4.ServerPort}, answer)
	if err != nil {
		return fmt.Errorf("opening a DHCP server on %s: %w", eth0, err)
	}
	fmt.Println("DHCP, IP range", offered, "--", offered)
	return server.Serve()
}
