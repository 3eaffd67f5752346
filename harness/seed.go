package harness

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
)

// Seed is where everything random about a lab comes from: VLANs, MACs, ports
// and frame IDs. The same seed gives the same lab, whenever and wherever it runs.
type Seed uint64

// NewSeed derives the seed of one spec from the suite's seed (Ginkgo's --seed)
// and the spec's full text.
func NewSeed(suite int64, spec string) Seed {
	h := fnv.New64a()
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(suite))
	h.Write(b[:])
	h.Write([]byte(spec))
	return Seed(h.Sum64())
}

// Rand returns the generator of one purpose: what is drawn for one does not
// shift what is drawn for another.
func (s Seed) Rand(purpose string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(purpose))
	return rand.New(rand.NewPCG(uint64(s), h.Sum64()))
}

// BatchID returns the frame-ID prefix of the batch of that name, see probe.Batch.
func (s Seed) BatchID(batch string) uint32 { return s.Rand("batch " + batch).Uint32() }

// String is sixteen hexadecimal digits.
func (s Seed) String() string { return fmt.Sprintf("%016x", uint64(s)) }
