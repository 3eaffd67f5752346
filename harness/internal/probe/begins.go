package probe

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// Begins tells whether start is how the frame begins, whatever VLAN tags either has. A TCP
// or UDP checksum may differ: where the kernel has left it to be finished, it is another.
func Begins(frame, start []byte) bool {
	frame, start = withoutTags(frame), withoutTags(start)
	if len(start) < ethernetHeader || len(start) > len(frame) {
		return false
	}
	if bytes.Equal(frame[:len(start)], start) {
		return true
	}
	at := checksumAt(frame)
	if at == 0 || at+2 > len(start) {
		return false
	}
	return bytes.Equal(frame[:at], start[:at]) && bytes.Equal(frame[at+2:len(start)], start[at+2:])
}

// SameFlow tells whether two frames, of which the second may be cut, have the same addresses, EtherType, protocol and ports.
func SameFlow(frame, other []byte) bool {
	frame, other = withoutTags(frame), withoutTags(other)
	if len(frame) < ethernetHeader || len(other) < ethernetHeader || !bytes.Equal(frame[:ethernetHeader], other[:ethernetHeader]) {
		return false
	}
	h, err := parseHeaders(frame)
	if err != nil || h.transport == 0 || h.transport+4 > min(len(frame), len(other)) {
		return err == nil && h.transport == 0
	}
	o, err := parseHeaders(other)
	return err == nil && o.transport == h.transport && o.protocol == h.protocol && bytes.Equal(h.addresses(frame), o.addresses(other)) &&
		bytes.Equal(frame[h.transport:h.transport+4], other[h.transport:h.transport+4])
}

func withoutTags(frame []byte) []byte {
	n := tagStack(frame)
	if n == 0 {
		return frame
	}
	return slices.Concat(frame[:12], frame[12+tagLen*n:])
}

// checksumAt is the offset of the frame's TCP or UDP checksum, 0 for none.
func checksumAt(frame []byte) int {
	if len(frame) < ethernetHeader || !slices.Contains([]uint16{etherTypeIPv4, etherTypeIPv6}, binary.BigEndian.Uint16(frame[12:])) {
		return 0
	}
	h, err := parseHeaders(frame)
	if err != nil || h.fragment || h.transport == 0 {
		return 0
	}
	switch h.protocol {
	case protocolTCP:
		return h.transport + tcpChecksum
	case protocolUDP:
		return h.transport + udpChecksum
	}
	return 0
}
