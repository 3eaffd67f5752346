package samples

import (
	"encoding/binary"
	"net"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Addresses of the device that the samples come from, and of its peer, as octets.
const (
	device    = "\x02\x00\x5e\x00\x53\x01"
	peer      = "\x02\x00\x5e\x00\x53\x02"
	broadcast = "\xff\xff\xff\xff\xff\xff"

	deviceIPv4 = "\xc0\x00\x02\x01"
	peerIPv4   = "\xc0\x00\x02\x02"
	deviceIPv6 = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"
	peerIPv6   = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02"

	stpGroup  = "\x01\x80\xc2\x00\x00\x00"
	lacpGroup = "\x01\x80\xc2\x00\x00\x02"
	paeGroup  = "\x01\x80\xc2\x00\x00\x03"
	lldpGroup = "\x01\x80\xc2\x00\x00\x0e"
	ptpGroup  = "\x01\x1b\x19\x00\x00\x00"
	mdnsGroup = "\x01\x00\x5e\x00\x00\xfb"
	allNodes  = "\x33\x33\x00\x00\x00\x01"
	routers   = "\x33\x33\x00\x00\x00\x02"
	solicited = "\x33\x33\xff\x00\x00\x02"
)

// sets are the frames of each file.
func sets() map[string][][]byte {
	return map[string][][]byte{
		"arp.pcap":  {arp(1, broadcast), arp(2, peer), padded(arp(1, broadcast))},
		"dhcp.pcap": {dhcp(layers.DHCPMsgTypeDiscover), dhcp(layers.DHCPMsgTypeRequest)},
		"pppoe.pcap": {
			pppoe(layers.EthernetTypePPPoEDiscovery, 0x09, nil),
			pppoe(layers.EthernetTypePPPoESession, 0, ipv4UDP(deviceIPv4, peerIPv4, 53, 64)),
		},
		"lldp.pcap": {lldp()},
		"stp.pcap":  {stp()},
		"qinq.pcap": {
			tagged(0x88a8, 0x2064, tagged(0x8100, 0x6065, arp(1, broadcast))),
			tagged(0x8100, 0xf001, tagged(0x8100, 0x0ffe, udp(4000, 700))),
		},
		"priority_tag.pcap":   {tagged(0x8100, 0xa000, udp(5060, 120)), tagged(0x88a8, 0x1000, arp(1, broadcast))},
		"old_qinq.pcap":       {tagged(0x9100, 100, udp(4000, 80)), tagged(0x8100, 5, tagged(0x9200, 6, udp(4000, 80)))},
		"ipv6_nd_ns.pcap":     {neighbourSolicitation(), routerSolicitation()},
		"ipv6_ext_ns.pcap":    {ipv6Extensions()},
		"mpls.pcap":           {mpls(ipv4UDP(deviceIPv4, peerIPv4, 646, 90))},
		"tcp.pcapng":          {tcp(true, 0), tcp(false, 1460), tcp(false, 1)},
		"udp_sizes.pcapng":    {udp(9, 0), udp(9, 1), udp(9, 18), udp(9, 1472)},
		"checksum_zero.pcap":  {noChecksum(udp(9, 32))},
		"multicast.pcap":      {to(mdnsGroup, udp(5353, 60)), to(allNodes, ethernet(peer, 0x88b6, filler(46)))},
		"ptp.pcapng":          {ethernet(ptpGroup, 0x88f7, filler(44))},
		"lacp.pcap":           {ethernet(lacpGroup, 0x8809, append([]byte{1, 1}, filler(108)...))},
		"eapol.pcap":          {ethernet(paeGroup, 0x888e, append([]byte{2, 1, 0, 0}, make([]byte, 42)...))},
		"malformed_ipv4.pcap": malformedIPv4(),
		"malformed_ipv6.pcap": malformedIPv6(),
		"short.pcapng":        {ethernet(peer, 0x88b5, filler(1)), ethernet(peer, 0x0800, filler(2)), ethernet(peer, 0x86dd, filler(3))},
		"llc.pcap":            {ethernet(peer, 3, []byte{0xe0, 0xe0, 0x03}), ethernet(peer, 46, filler(46))},
	}
}

// serialize puts layers into a frame, with lengths and checksums right.
func serialize(l ...gopacket.SerializableLayer) []byte {
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, l...); err != nil {
		panic("the samples' own layers do not fit together: " + err.Error())
	}
	return buf.Bytes()
}

func header(dst string, etherType layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: net.HardwareAddr(device), DstMAC: net.HardwareAddr(dst), EthernetType: etherType}
}

// ethernet is a frame of any EtherType or length, however short.
func ethernet(dst string, etherType uint16, payload []byte) []byte {
	frame := append(append(append([]byte{}, dst...), device...), byte(etherType>>8), byte(etherType))
	return append(frame, payload...)
}

// filler is n octets which are all the same nowhere.
func filler(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + 1)
	}
	return b
}

// tagged puts a tag behind the source of a frame.
func tagged(protocol, tci uint16, frame []byte) []byte {
	out := append([]byte{}, frame[:12]...)
	out = binary.BigEndian.AppendUint16(out, protocol)
	out = binary.BigEndian.AppendUint16(out, tci)
	return append(out, frame[12:]...)
}

// padded fills a frame up to the shortest that Ethernet carries.
func padded(frame []byte) []byte { return append(frame, make([]byte, 60-len(frame))...) }

func to(dst string, frame []byte) []byte {
	copy(frame, dst)
	return frame
}

func arp(operation uint16, dst string) []byte {
	return serialize(header(dst, layers.EthernetTypeARP), &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4,
		HwAddressSize: 6, ProtAddressSize: 4, Operation: operation,
		SourceHwAddress: []byte(device), SourceProtAddress: []byte(deviceIPv4),
		DstHwAddress: make([]byte, 6), DstProtAddress: []byte(peerIPv4),
	})
}

func ipv4(src, dst string, protocol layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Id: 0x1234, Protocol: protocol, SrcIP: net.IP(src), DstIP: net.IP(dst)}
}

func ipv4UDP(src, dst string, port layers.UDPPort, size int) []byte {
	ip := ipv4(src, dst, layers.IPProtocolUDP)
	u := &layers.UDP{SrcPort: 40000, DstPort: port}
	_ = u.SetNetworkLayerForChecksum(ip)
	return serialize(ip, u, gopacket.Payload(filler(size)))
}

func udp(port layers.UDPPort, size int) []byte {
	return ethernet(peer, 0x0800, ipv4UDP(deviceIPv4, peerIPv4, port, size))
}

func noChecksum(frame []byte) []byte {
	frame[40], frame[41] = 0, 0
	return frame
}

func tcp(syn bool, size int) []byte {
	ip := ipv4(deviceIPv4, peerIPv4, layers.IPProtocolTCP)
	t := &layers.TCP{SrcPort: 40001, DstPort: 80, Seq: 0xfffffff0, Ack: 77, Window: 0xffff, SYN: syn, ACK: !syn, PSH: size > 0}
	if syn {
		t.Options = []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{0x05, 0xb4}}}
	}
	_ = t.SetNetworkLayerForChecksum(ip)
	return serialize(header(peer, layers.EthernetTypeIPv4), ip, t, gopacket.Payload(filler(size)))
}

func dhcp(kind layers.DHCPMsgType) []byte {
	ip := ipv4("\x00\x00\x00\x00", "\xff\xff\xff\xff", layers.IPProtocolUDP)
	u := &layers.UDP{SrcPort: 68, DstPort: 67}
	_ = u.SetNetworkLayerForChecksum(ip)
	return serialize(header(broadcast, layers.EthernetTypeIPv4), ip, u, &layers.DHCPv4{
		Operation: layers.DHCPOpRequest, HardwareType: layers.LinkTypeEthernet, HardwareLen: 6,
		Xid: 0x3903f326, ClientHWAddr: net.HardwareAddr(device),
		ClientIP: net.IPv4zero, YourClientIP: net.IPv4zero, NextServerIP: net.IPv4zero, RelayAgentIP: net.IPv4zero,
		Options: layers.DHCPOptions{
			layers.NewDHCPOption(layers.DHCPOptMessageType, []byte{byte(kind)}),
			layers.NewDHCPOption(layers.DHCPOptHostname, []byte("device")),
			layers.NewDHCPOption(layers.DHCPOptParamsRequest, []byte{1, 3, 6, 15}),
		},
	})
}
