package traffic

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"sync/atomic"
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

// pattern reads as a stream of a length.
type pattern struct {
	seed, end uint64
	offset    atomic.Uint64 // octets read
}

func newPattern(seed, octets uint64) *pattern { return &pattern{seed: seed, end: octets} }

// body is the pattern as the body of a request, where nil stands for none.
func (p *pattern) body() io.Reader {
	if p.end == 0 {
		return nil
	}
	return p
}

// made is how many octets have been read. It may be called at any time.
func (p *pattern) made() uint64 { return p.offset.Load() }

func (p *pattern) Read(b []byte) (int, error) {
	offset := p.offset.Load()
	if offset == p.end {
		return 0, io.EOF
	}
	b = b[:min(uint64(len(b)), p.end-offset)]
	fillPattern(b, p.seed, offset)
	p.offset.Store(offset + uint64(len(b)))
	return len(b), nil
}

// writeSize is how many octets of a stream are written at a time: more than the largest super-packet, since TCP makes no larger
// packet than there is to send, and a slow sender has no more than it has just written.
const writeSize = 256 << 10

// WriteTo writes all that has not been read, in pieces of writeSize.
func (p *pattern) WriteTo(w io.Writer) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{p}, make([]byte, writeSize))
}

// verifier compares what is written to it with the pattern.
type verifier struct {
	seed, end uint64
	offset    uint64 // octets compared
	want      []byte
}

func (v *verifier) Write(got []byte) (int, error) {
	if left := v.end - v.offset; uint64(len(got)) > left {
		return 0, fmt.Errorf("at least %d octets too many", uint64(len(got))-left)
	}
	if cap(v.want) < len(got) {
		v.want = make([]byte, len(got))
	}
	want := v.want[:len(got)]
	fillPattern(want, v.seed, v.offset)
	if !bytes.Equal(got, want) {
		return 0, fmt.Errorf("the stream is damaged: after %d right octets, %s", v.offset, firstDifference(got, want))
	}
	v.offset += uint64(len(got))
	return len(got), nil
}

func (v *verifier) complete() error {
	if v.offset != v.end {
		return fmt.Errorf("the stream ended after %d of %d octets", v.offset, v.end)
	}
	return nil
}

func firstDifference(got, want []byte) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("octet %d is %#02x instead of %#02x", i, got[i], want[i])
		}
	}
	return fmt.Sprintf("%d octets instead of %d", len(got), len(want))
}
