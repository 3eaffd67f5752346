package probe

import "encoding/binary"

const (
	vxlanPort   = 4789
	vxlanHeader = 8
)

// innerFrame is where the Ethernet frame in a VXLAN packet begins, 0 if it is none.
func innerFrame(packet []byte) (int, headers) {
	h, err := parseHeaders(packet)
	if err != nil || h.protocol != protocolUDP || h.fragment || len(packet) < h.transport+udpHeader+vxlanHeader ||
		binary.BigEndian.Uint16(packet[h.transport+2:]) != vxlanPort {
		return 0, h
	}
	return h.transport + udpHeader + vxlanHeader, h
}

// cutInner cuts the super-packet in a tunnel, and makes outer headers for each segment.
func (s *Segmenter) cutInner(packet []byte, at int, outer headers, hdr VirtioNetHeader, gso uint8, emit func([]byte) bool) error {
	hdr.CsumStart -= uint16(at)
	var inner Segmenter
	number := uint16(0)
	return inner.cut(packet[at:], hdr, gso, func(segment []byte) bool {
		s.buf = append(append(s.buf[:0], packet[:at]...), segment...)
		ip, udp := s.buf[outer.network:], s.buf[outer.transport:]
		if outer.etherType == etherTypeIPv4 {
			binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
			binary.BigEndian.PutUint16(ip[4:], binary.BigEndian.Uint16(ip[4:])+number)
			ip[10], ip[11] = 0, 0
			binary.BigEndian.PutUint16(ip[10:], ^fold(sumOctets(0, ip[:outer.transport-outer.network])))
		} else {
			binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-ipv6Header))
		}
		number++
		binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
		if checksum := udp[6:]; checksum[0]|checksum[1] != 0 {
			checksum[0], checksum[1] = 0, 0
			pseudo := pseudoHeader(outer.addresses(s.buf), protocolUDP, 0)
			binary.BigEndian.PutUint16(checksum, orOnes(^fold(uint64(fold(sumOctets(0, udp)))+uint64(pseudo)+uint64(len(udp)))))
		}
		return emit(s.buf)
	})
}
