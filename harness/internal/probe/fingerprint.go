package probe

import (
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// Fingerprint is a 64-bit hash of a frame's octets without its VLAN tags (the
// stack of 0x8100 and 0x88a8 behind the source MAC): destination, source and
// everything behind the tags. It is the same at every hop of a lab. Frames of
// different octets have different fingerprints, but for chance (2⁻⁶⁴ a pair) and
// the two spellings of zero in a TCP checksum, 0x0000 and 0xffff, between which
// Linux chooses by where the checksum is finished.
type Fingerprint uint64

// String is 16 hexadecimal digits.
func (f Fingerprint) String() string { return fmt.Sprintf("%016x", uint64(f)) }

// FingerprintOf is a frame's fingerprint. Any octets have one.
func FingerprintOf(frame []byte) Fingerprint { return fingerprint(frame, tagStack(frame)) }

func fingerprint(frame []byte, tags int) Fingerprint {
	if at := tcpChecksumOfOnes(frame, tags); at != 0 {
		var d xxhash.Digest
		d.Reset()
		start := tagLen * tags
		_, _ = d.Write(frame[:12]) // a Digest's Write never fails
		_, _ = d.Write(frame[12+start : at])
		_, _ = d.Write([]byte{0, 0})
		_, _ = d.Write(frame[at+2:])
		return Fingerprint(d.Sum64())
	}
	if tags == 0 {
		return Fingerprint(xxhash.Sum64(frame))
	}
	var d xxhash.Digest
	d.Reset()
	_, _ = d.Write(frame[:12])
	_, _ = d.Write(frame[12+tagLen*tags:])
	return Fingerprint(d.Sum64())
}

// tcpChecksumOfOnes is the offset of the frame's TCP checksum if that is 0xffff, else 0.
func tcpChecksumOfOnes(frame []byte, tags int) int {
	at := 12 + tagLen*tags
	if len(frame) < at+2+ipv4Header+tcpHeader {
		return 0
	}
	switch binary.BigEndian.Uint16(frame[at:]) {
	case etherTypeIPv4:
		if frame[at+2+9] != protocolTCP {
			return 0
		}
	case etherTypeIPv6:
	default:
		return 0
	}
	h, err := parseHeaders(frame)
	if err != nil || h.fragment || h.protocol != protocolTCP || len(frame) < h.transport+tcpHeader {
		return 0
	}
	if checksum := h.transport + tcpChecksum; binary.BigEndian.Uint16(frame[checksum:]) == 0xffff {
		return checksum
	}
	return 0
}
