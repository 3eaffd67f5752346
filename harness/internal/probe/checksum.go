package probe

import (
	"encoding/binary"
	"math/bits"
)

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
