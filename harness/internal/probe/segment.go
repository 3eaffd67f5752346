package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

const (
	tcpFIN byte = 0x01
	tcpCWR byte = 0x80
)

// Segmenter turns packets as a socket hands them over into the frames that the
// wire would carry. It keeps a buffer between calls; the zero value is ready for
// use. It is not safe for concurrent use.
type Segmenter struct {
	buf []byte
}

// Frames calls emit with each frame that packet stands for, in order, until emit
// returns false: the packet itself; the packet with its checksum finished; or
// the segments of a UDP, TCP or SCTP super-packet, cut and numbered the way Linux does
// it in software. The packet is not changed. A frame is valid until emit returns.
// A super-packet that cannot be cut is an error, and nothing is emitted.
//
// IPv4 IDs count up from segment to segment. Super-packets that GRO made of
// frames with a fixed ID look no different on a socket and are numbered alike.
func (s *Segmenter) Frames(packet []byte, hdr VirtioNetHeader, emit func(frame []byte) bool) error {
	switch gso := hdr.GSOType &^ VirtioGSOECN; gso {
	case VirtioGSONone:
		if hdr.Flags&VirtioNeedsChecksum == 0 {
			emit(packet)
			return nil
		}
		return s.finish(packet, hdr, emit)
	case VirtioGSOTCPv4, VirtioGSOTCPv6, VirtioGSOUDPL4:
		packet, hdr = withoutJumbo(packet, hdr)
		return s.cut(packet, hdr, gso, emit)
	case gsoSCTP:
		return s.cutSCTP(packet, hdr, emit)
	default:
		return fmt.Errorf("splitting a super-packet of %d octets: GSO type %d is neither TCP nor UDP", len(packet), gso)
	}
}

// finish emits the packet with the checksum that a network card would have put in.
func (s *Segmenter) finish(packet []byte, hdr VirtioNetHeader, emit func([]byte) bool) error {
	start, field := int(hdr.CsumStart), int(hdr.CsumStart)+int(hdr.CsumOffset)
	if len(packet) < field+2 {
		return fmt.Errorf("finishing the checksum of a frame of %d octets: its place is octet %d", len(packet), field)
	}
	s.buf = append(s.buf[:0], packet...)
	frame := s.buf
	if h, err := parseHeaders(frame); err == nil && h.protocol == protocolSCTP && h.transport == start && len(frame) >= start+sctpHeader {
		finishSCTP(frame, start)
	} else {
		binary.BigEndian.PutUint16(frame[field:], orOnes(^fold(sumOctets(0, frame[start:]))))
	}
	emit(frame)
	return nil
}

// superPacket is a packet to cut and where its parts are.
type superPacket struct {
	headers
	outer    []headers // of the tunnels it is in, the outermost first
	hdr      VirtioNetHeader
	checksum int    // offset of the transport checksum
	payload  int    // offset of the payload
	partial  uint16 // sum of the pseudo header, without the length
	unsummed bool   // UDP without a checksum
}

func (s *Segmenter) cut(packet []byte, hdr VirtioNetHeader, gso uint8, emit func([]byte) bool) error {
	sp, err := parseSuperPacket(packet, hdr, gso)
	if err != nil {
		return fmt.Errorf("splitting a super-packet of %d octets: %w", len(packet), err)
	}
	size := int(hdr.GSOSize)
	first := true
	for at, i := sp.payload, 0; first || at < len(packet); at, i = at+size, i+1 {
		end := min(at+size, len(packet))
		s.buf = append(s.buf[:0], packet[:sp.payload]...)
		s.buf = append(s.buf, packet[at:end]...)
		sp.number(s.buf, i, end == len(packet))
		first = false
		if !emit(s.buf) {
			return nil
		}
	}
	return nil
}

func parseSuperPacket(packet []byte, hdr VirtioNetHeader, gso uint8) (sp superPacket, err error) {
	if hdr.GSOSize == 0 {
		return sp, errors.New("the segment size is 0")
	}
	if sp.headers, err = parseHeaders(packet); err != nil {
		return sp, err
	}
	for hdr.Flags&VirtioNeedsChecksum != 0 && int(hdr.CsumStart) > sp.transport {
		inner, err := sp.inside(packet)
		if err != nil {
			return sp, err
		}
		sp.outer = append(sp.outer, sp.headers)
		sp.headers = inner
	}
	sp.hdr = hdr
	etherType, protocol, length := etherTypeIPv4, protocolTCP, tcpHeader
	sp.checksum = tcpChecksum
	switch gso {
	case VirtioGSOTCPv6:
		etherType = etherTypeIPv6
	case VirtioGSOUDPL4:
		protocol, length, sp.checksum = protocolUDP, udpHeader, udpChecksum
		if sp.etherType == etherTypeIPv6 {
			etherType = etherTypeIPv6
		}
	}
	if sp.etherType != etherType || sp.protocol != protocol || sp.fragment {
		return sp, fmt.Errorf("GSO type %d, but EtherType %#04x and protocol %d", gso, sp.etherType, sp.protocol)
	}
	if len(packet) < sp.transport+length {
		return sp, errors.New("the transport header is cut short")
	}
	if protocol == protocolTCP {
		if length = int(packet[sp.transport+12]>>4) * 4; length < tcpHeader || len(packet) < sp.transport+length {
			return sp, fmt.Errorf("a TCP header of %d octets", length)
		}
	}
	sp.payload = sp.transport + length
	sp.checksum += sp.transport
	field := binary.BigEndian.Uint16(packet[sp.checksum:])
	if hdr.Flags&VirtioNeedsChecksum != 0 {
		if int(hdr.CsumStart) != sp.transport || int(hdr.CsumStart)+int(hdr.CsumOffset) != sp.checksum {
			return sp, fmt.Errorf("the checksum is to start at octet %d, the transport header does at %d", hdr.CsumStart, sp.transport)
		}
		// The field holds the pseudo header's sum, which a routing header
		// may keep from following from the addresses: take the length out of it.
		sp.partial = fold(uint64(field) + uint64(^fold(uint64(len(packet)-sp.transport))))
	} else {
		sp.partial = pseudoHeader(sp.addresses(packet), protocol, 0)
		sp.unsummed = protocol == protocolUDP && field == 0
	}
	return sp, nil
}

// number makes the headers of segment i fit it, then those of the tunnels it is in.
func (sp *superPacket) number(frame []byte, i int, last bool) {
	sp.numberIP(frame, i)
	sp.numberTransport(frame, i, last)
	for t := len(sp.outer) - 1; t >= 0; t-- {
		sp.outer[t].enclose(frame, i)
	}
}

// numberIP makes the IP header of segment i fit it.
func (h *headers) numberIP(frame []byte, i int) {
	ip := frame[h.network:]
	if h.etherType != etherTypeIPv4 {
		binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-ipv6Header))
		return
	}
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	binary.BigEndian.PutUint16(ip[4:], binary.BigEndian.Uint16(ip[4:])+uint16(i))
	ip[10], ip[11] = 0, 0
	binary.BigEndian.PutUint16(ip[10:], ^fold(sumOctets(0, ip[:h.transport-h.network])))
}

func (sp *superPacket) numberTransport(frame []byte, i int, last bool) {
	transport := frame[sp.transport:]
	if sp.protocol == protocolUDP {
		binary.BigEndian.PutUint16(transport[4:], uint16(len(transport)))
	} else {
		sequence := binary.BigEndian.Uint32(transport[4:])
		binary.BigEndian.PutUint32(transport[4:], sequence+uint32(i)*uint32(sp.hdr.GSOSize))
		if !last {
			transport[13] &^= tcpFIN | tcpPSH
		}
		if i > 0 {
			transport[13] &^= tcpCWR
		}
	}
	if sp.unsummed {
		return
	}
	checksum := frame[sp.checksum:]
	checksum[0], checksum[1] = 0, 0
	sum := ^fold(uint64(fold(sumOctets(0, transport))) + uint64(sp.partial) + uint64(len(transport)))
	if sp.protocol == protocolUDP {
		sum = orOnes(sum)
	}
	binary.BigEndian.PutUint16(checksum, sum)
}

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

// sumOctets adds b to a one's complement sum of 16-bit words. Only the last part of a
// sum may have an odd length.
func sumOctets(sum uint64, b []byte) uint64 {
	var carry uint64
	for len(b) >= 32 {
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[8:]), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[16:]), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[24:]), carry)
		b = b[32:]
	}
	for len(b) >= 8 {
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b), carry)
		b = b[8:]
	}
	var rest [8]byte
	copy(rest[:], b)
	sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(rest[:]), carry)
	sum, carry = bits.Add64(sum, 0, carry)
	return sum + carry
}

// fold brings a sum down to 16 bits.
func fold(sum uint64) uint16 {
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	return uint16(sum)
}

// pseudoHeader is the sum of what UDP and TCP checksums cover besides the
// transport header and payload: length octets of protocol between two addresses.
func pseudoHeader(addresses []byte, protocol uint8, length int) uint16 {
	sum := uint64(protocol) + uint64(length)
	return fold(uint64(fold(sumOctets(0, addresses))) + sum)
}

// orOnes spells a checksum of zero as 0xffff, as UDP must.
func orOnes(checksum uint16) uint16 {
	if checksum == 0 {
		return 0xffff
	}
	return checksum
}
