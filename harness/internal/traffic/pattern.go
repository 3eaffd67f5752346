package traffic

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// patternBlock is how many octets of the pattern one number of the generator gives.
const patternBlock = 8

// fillPattern writes the octets of stream seed from position offset on. The pattern does not repeat, and any part of it can be made
// without the octets before it: a lost, doubled or displaced octet shows at once.
func fillPattern(p []byte, seed, offset uint64) {
	var block [patternBlock]byte
	number, skip := offset/patternBlock, int(offset%patternBlock)
	if skip != 0 {
		binary.LittleEndian.PutUint64(block[:], scramble(seed, number))
		p = p[copy(p, block[skip:]):]
		number++
	}
	for len(p) >= patternBlock {
		binary.LittleEndian.PutUint64(p, scramble(seed, number))
		p = p[patternBlock:]
		number++
	}
	if len(p) > 0 {
		binary.LittleEndian.PutUint64(block[:], scramble(seed, number))
		copy(p, block[:])
	}
}

// scramble is the splitmix64 generator's number at a position.
func scramble(seed, position uint64) uint64 {
	z := seed + (position+1)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// verifier compares a stream with the pattern as it arrives.
type verifier struct {
	seed   uint64
	offset uint64 // octets compared
	want   []byte
}

// verify compares the next octets.
func (v *verifier) verify(got []byte) error {
	if cap(v.want) < len(got) {
		v.want = make([]byte, len(got))
	}
	want := v.want[:len(got)]
	fillPattern(want, v.seed, v.offset)
	if !bytes.Equal(got, want) {
		return fmt.Errorf("the stream is damaged: after %d right octets, %s", v.offset, firstDifference(got, want))
	}
	v.offset += uint64(len(got))
	return nil
}

// firstDifference says where got and want part.
func firstDifference(got, want []byte) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("octet %d is %#02x instead of %#02x", i, got[i], want[i])
		}
	}
	return fmt.Sprintf("%d octets instead of %d", len(got), len(want))
}
