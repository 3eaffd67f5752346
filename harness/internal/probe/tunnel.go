package probe

import (
	"encoding/binary"
	"errors"
)

const (
	protocolIPIP uint8 = 4
	protocolIPv6 uint8 = 41
	protocolGRE  uint8 = 47

	vxlanPort, vxlanHeader   = 4789, 8
	genevePort, geneveHeader = 6081, 8
	greHeader                = 4

	etherTypeEthernet uint16 = 0x6558 // transparent Ethernet bridging, in Geneve and GRE

	greChecksum, greKey, greSequence = 0x80, 0x20, 0x10 // flags in its first octet
)

var errNoTunnel = errors.New("the checksum to finish is behind the headers, and they are of no known tunnel")

// inside are the headers in the tunnel whose own are h.
func (h *headers) inside(packet []byte) (headers, error) {
	begin := packet[min(h.transport, len(packet)):]
	switch h.protocol {
	case protocolIPIP:
		return headersAt(packet, etherTypeIPv4, h.transport)
	case protocolIPv6:
		return headersAt(packet, etherTypeIPv6, h.transport)
	case protocolGRE:
		if len(begin) < greHeader {
			return headers{}, errNoTunnel
		}
		at := h.transport + greHeader
		for _, flag := range []byte{greChecksum, greKey, greSequence} {
			if begin[0]&flag != 0 {
				at += 4
			}
		}
		return headersAt(packet, binary.BigEndian.Uint16(begin[2:]), at)
	case protocolUDP:
		if len(begin) < udpHeader+max(vxlanHeader, geneveHeader) {
			return headers{}, errNoTunnel
		}
		tunnel := begin[udpHeader:]
		switch binary.BigEndian.Uint16(begin[2:]) {
		case vxlanPort:
			return headersAt(packet, etherTypeEthernet, h.transport+udpHeader+vxlanHeader)
		case genevePort:
			options := int(tunnel[0]&0x3f) * 4
			return headersAt(packet, binary.BigEndian.Uint16(tunnel[2:]), h.transport+udpHeader+geneveHeader+options)
		}
	}
	return headers{}, errNoTunnel
}

// headersAt are those that begin at an offset with what an EtherType says.
func headersAt(packet []byte, etherType uint16, at int) (h headers, err error) {
	begin := packet[min(at, len(packet)):]
	h = headers{etherType: etherType}
	switch etherType {
	case etherTypeEthernet:
		h, err = parseHeaders(begin)
	case etherTypeIPv4:
		err = h.parseIPv4(begin)
	case etherTypeIPv6:
		err = h.parseIPv6(begin)
	default:
		err = errNoTunnel
	}
	h.network += at
	if h.transport != 0 {
		h.transport += at
	}
	return h, err
}

// enclose makes the headers of a tunnel fit segment i in it.
func (h *headers) enclose(frame []byte, i int) {
	h.numberIP(frame, i)
	transport := frame[h.transport:]
	switch {
	case h.protocol == protocolUDP:
		binary.BigEndian.PutUint16(transport[4:], uint16(len(transport)))
		if checksum := transport[udpChecksum:]; checksum[0]|checksum[1] != 0 {
			checksum[0], checksum[1] = 0, 0
			pseudo := pseudoHeader(h.addresses(frame), protocolUDP, 0)
			binary.BigEndian.PutUint16(checksum, orOnes(^fold(uint64(fold(sumOctets(0, transport)))+uint64(pseudo)+uint64(len(transport)))))
		}
	case h.protocol == protocolGRE && transport[0]&greChecksum != 0:
		checksum := transport[greHeader:]
		checksum[0], checksum[1] = 0, 0
		binary.BigEndian.PutUint16(checksum, ^fold(sumOctets(0, transport)))
	}
}
