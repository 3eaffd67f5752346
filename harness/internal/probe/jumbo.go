package probe

import "encoding/binary"

// jumboOption is that of RFC 2675, and jumboHeader the octets of the hop-by-hop header that holds it alone.
const jumboOption, jumboHeader = 0xc2, 8

// withoutJumbo takes off the hop-by-hop header that Linux before 7.0 puts into IPv6 super-packets of
// more than 64 KiB, with the length for which the IPv6 header has no room. No segment has it. The packet is not
// changed.
func withoutJumbo(packet []byte, hdr VirtioNetHeader) ([]byte, VirtioNetHeader) {
	h, err := parseHeaders(packet)
	behind := h.network + ipv6Header
	if err != nil || h.etherType != etherTypeIPv6 || len(packet) <= MaxPacket || len(packet) < behind+jumboHeader {
		return packet, hdr
	}
	extension := packet[behind:]
	if packet[h.network+6] != protocolHopByHop || extension[1] != 0 || extension[2] != jumboOption || binary.BigEndian.Uint16(packet[h.network+4:]) != 0 {
		return packet, hdr
	}
	plain := append(append(make([]byte, 0, len(packet)-jumboHeader), packet[:behind]...), packet[behind+jumboHeader:]...)
	plain[h.network+6] = extension[0]
	hdr.CsumStart -= jumboHeader
	return plain, hdr
}
