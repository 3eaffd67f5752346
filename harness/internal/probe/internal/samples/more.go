package samples

import (
	"encoding/binary"
	"net"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

func pppoe(etherType layers.EthernetType, code byte, packet []byte) []byte {
	payload := append([]byte{0x00, 0x21}, packet...) // PPP protocol IPv4
	if packet == nil {
		payload = []byte{0x01, 0x01, 0, 0, 0x01, 0x03, 0, 4, 1, 2, 3, 4} // Service-Name, Host-Uniq
	}
	h := []byte{0x11, code, 0x00, 0x2a}
	h = binary.BigEndian.AppendUint16(h, uint16(len(payload)))
	return ethernet(peer, uint16(etherType), append(h, payload...))
}

func lldp() []byte {
	tlv := func(kind, n int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(kind<<9|n)) }
	payload := append(tlv(1, 7), 4) // chassis ID: MAC
	payload = append(payload, device...)
	payload = append(append(payload, tlv(2, 5)...), 5, 'e', 't', 'h', '0') // port ID: name
	payload = append(append(payload, tlv(3, 2)...), 0, 120)                // time to live
	payload = append(append(payload, tlv(5, 6)...), "device"...)           // system name
	payload = append(payload, tlv(0, 0)...)
	return ethernet(lldpGroup, 0x88cc, payload)
}

func stp() []byte {
	bpdu := []byte{0x42, 0x42, 0x03, 0, 0, 0, 0, 0, 0x80, 0x00}
	bpdu = append(append(bpdu, device...), 0, 0, 0, 0, 0x80, 0x00)
	bpdu = append(append(bpdu, device...), 0x80, 0x01, 0, 0, 20, 0, 2, 0, 15, 0)
	return padded(ethernet(stpGroup, uint16(len(bpdu)), bpdu))
}

func ipv6(src, dst string, next layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, NextHeader: next, HopLimit: 255, SrcIP: net.IP(src), DstIP: net.IP(dst)}
}

func neighbourSolicitation() []byte {
	group := string(net.ParseIP("ff02::1:ff00:2"))
	ip := ipv6(deviceIPv6, group, layers.IPProtocolICMPv6)
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborSolicitation, 0)}
	_ = icmp.SetNetworkLayerForChecksum(ip)
	return serialize(header(solicited, layers.EthernetTypeIPv6), ip, icmp,
		&layers.ICMPv6NeighborSolicitation{
			TargetAddress: net.IP(peerIPv6),
			Options:       layers.ICMPv6Options{{Type: layers.ICMPv6OptSourceAddress, Data: []byte(device)}},
		})
}

func routerSolicitation() []byte {
	ip := ipv6(string(net.ParseIP("fe80::1")), string(net.ParseIP("ff02::2")), layers.IPProtocolICMPv6)
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeRouterSolicitation, 0)}
	_ = icmp.SetNetworkLayerForChecksum(ip)
	return serialize(header(routers, layers.EthernetTypeIPv6), ip, icmp,
		&layers.ICMPv6RouterSolicitation{})
}

// ipv6Extensions has hop-by-hop options, a routing header and destination options before UDP.
func ipv6Extensions() []byte {
	extension := func(next byte) []byte { return []byte{next, 0, 1, 4, 0, 0, 0, 0} } // PadN
	routing := append([]byte{60, 2, 4, 0, 0, 0, 0, 0}, peerIPv6...)
	datagram := append([]byte{0x9c, 0x40, 0, 9, 0, 24, 0x12, 0x34}, filler(16)...)
	packet := append(extension(43), routing...)
	packet = append(append(packet, extension(17)...), datagram...)
	return serialize(header(peer, layers.EthernetTypeIPv6),
		ipv6(deviceIPv6, peerIPv6, layers.IPProtocolIPv6HopByHop), gopacket.Payload(packet))
}

func mpls(packet []byte) []byte {
	labels := []byte{0, 1, 0x00, 64, 0, 2, 0x01, 64} // two labels, the second at the bottom
	return ethernet(peer, 0x8847, append(labels, packet...))
}

func malformedIPv4() [][]byte {
	change := func(at int, value byte) []byte {
		frame := udp(9, 64)
		frame[at] = value
		return frame
	}
	return [][]byte{
		change(16, 0xff),          // a total length far beyond the frame
		change(17, 0x05),          // and one below the header
		change(14, 0x4f),          // a header of 60 octets
		change(14, 0x41),          // of 4
		change(14, 0x55),          // IP version 5
		change(38, 0xff),          // a UDP length beyond the packet
		change(20, 0x20),          // the first fragment of nothing
		change(23, 6),             // UDP that says it is TCP
		tcp(false, 100)[:14+20+6], // a TCP header that ends early
		func() []byte {
			frame := tcp(false, 100)
			frame[46] = 0x10 // a data offset of 4 octets
			return frame
		}(),
	}
}

func malformedIPv6() [][]byte {
	frame := ipv6Extensions()
	long := append([]byte{}, frame...)
	binary.BigEndian.PutUint16(long[18:], 0xffff)
	jumbo := append([]byte{}, frame...)
	binary.BigEndian.PutUint16(jumbo[18:], 0)
	endless := append([]byte{}, frame...)
	endless[14+40+1] = 0xff // an extension header longer than the packet
	return [][]byte{long, jumbo, endless, frame[:14+40+4], frame[:14+40]}
}
