package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness"
)

// narrowPath is the MTU that a router announces, and how many fragments the stack makes of
// a datagram of 1400 octets then.
func narrowPath(f Family) (mtu uint16, fragments uint64) {
	if f == IPv6 {
		return 1280, 2
	}
	return 600, 3
}

// pathMTU has a router behind c0's worker say that the path is narrow (RFC 1191, RFC 8201).
// c0 has to believe it, and c1, which has the same address and the same peer, must not hear of it.
func pathMTU(ctx context.Context, r *Run) {
	const datagrams, octets = 20, 1400
	t := r.Lab.Topology
	remote := netip.AddrPortFrom(workerPrefix(r.Family).Addr(), overlapServerPort)
	mtu, fragments := narrowPath(r.Family)
	window := r.OpenWindow(ctx)
	window.AllowSockets()
	r.Send(ctx, window, t.Workers[0].Name, r.raw("too big", [][]byte{tooBig(r.Family, t.Workers[0].MAC, t.Clients[0].MAC, mtu)}))
	r.Await(ctx, window, map[string]uint64{t.Clients[0].Name + "/eth0": 1})
	before := r.Counters(ctx).Clients
	for _, c := range t.Clients[:2] {
		echo, err := r.Lab.Worker(c.Worker).ServeUDP(ctx, harness.UDPServeRequest{Listen: remote})
		r.Check(err)
		got, err := r.Lab.Client(c.Name).UDP(ctx, harness.UDPRequest{Remote: remote, Count: datagrams, Size: octets, Seed: 1})
		r.Check(errors.Join(err, echo.Close()))
		r.Expect(got.Received).To(gomega.Equal(datagrams), "%s: UDP datagrams echoed", c.Name)
	}
	r.Close(ctx, window)
	sent := map[harness.MAC]uint64{}
	for i, c := range r.Counters(ctx).Clients {
		sent[c.MAC] = c.Rx.Packets - before[i].Rx.Packets
	}
	r.Expect(sent[t.Clients[0].MAC]).To(gomega.BeNumerically(">=", datagrams*fragments), "frames of c0, which was told that the path is narrow")
	r.Expect(sent[t.Clients[1].MAC]).To(gomega.BeNumerically("<", datagrams*2), "frames of c1, which was not")
}

// tooBig is what a router says of a packet of the client's that does not fit: an echo reply, of which
// a kernel needs no socket to believe it.
func tooBig(f Family, from, to harness.MAC, mtu uint16) []byte {
	client, worker := clientPrefix(f).Addr().AsSlice(), workerPrefix(f).Addr().AsSlice()
	ethernet := &layers.Ethernet{SrcMAC: from[:], DstMAC: to[:], EthernetType: layers.EthernetTypeIPv4}
	var said, quoted []gopacket.SerializableLayer
	var err error
	if f == IPv4 {
		ip := func(from, to []byte) *layers.IPv4 {
			return &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: from, DstIP: to}
		}
		said = []gopacket.SerializableLayer{ethernet, ip(worker, client), &layers.ICMPv4{
			TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodeFragmentationNeeded), Seq: mtu,
		}}
		quoted = []gopacket.SerializableLayer{ip(client, worker), &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoReply, 0)}}
	} else {
		ethernet.EthernetType = layers.EthernetTypeIPv6
		message := func(from, to []byte, kind uint8) []gopacket.SerializableLayer {
			ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolICMPv6, SrcIP: from, DstIP: to}
			icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}
			err = errors.Join(err, icmp.SetNetworkLayerForChecksum(ip))
			return []gopacket.SerializableLayer{ip, icmp}
		}
		said = append([]gopacket.SerializableLayer{ethernet}, message(worker, client, layers.ICMPv6TypePacketTooBig)...)
		said = append(said, gopacket.Payload{0, 0, byte(mtu >> 8), byte(mtu)})
		quoted = message(client, worker, layers.ICMPv6TypeEchoReply)
	}
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	quote, frame := gopacket.NewSerializeBuffer(), gopacket.NewSerializeBuffer()
	quoted = append(quoted, gopacket.Payload(make([]byte, 64)))
	err = errors.Join(err, gopacket.SerializeLayers(quote, options, quoted...))
	said = append(said, gopacket.Payload(quote.Bytes()))
	if err = errors.Join(err, gopacket.SerializeLayers(frame, options, said...)); err != nil {
		panic(fmt.Sprintf("the packet has a length and addresses of its family: %v", err))
	}
	return frame.Bytes()
}
