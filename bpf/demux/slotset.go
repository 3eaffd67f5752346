package demux

import "math/bits"

// Slots that share a cache line.
const (
	countedTogether = 2 // of counters
	locatedTogether = 8 // of locations
)

// slotSet is a set of slots.
type slotSet struct {
	words []uint64 // a bit for each
	count int
}

func newSlotSet(capacity int) slotSet { return slotSet{words: make([]uint64, (capacity+63)/64)} }

func (s *slotSet) add(slot uint32) {
	s.words[slot/64] |= 1 << (slot % 64)
	s.count++
}

func (s *slotSet) remove(slot uint32) {
	s.words[slot/64] &^= 1 << (slot % 64)
	s.count--
}

// near returns the slot of the set, which is not empty, whose counters and location are in the same cache lines as
// those of home, or its location alone, or another one not far from it.
func (s *slotSet) near(home uint32) uint32 {
	at := int(home / 64)
	for _, together := range []uint32{countedTogether, locatedTogether} {
		line := (uint64(1)<<together - 1) << (home % 64 / together * together)
		if found := s.words[at] & line; found != 0 {
			return uint32(64*at + bits.TrailingZeros64(found))
		}
	}
	for s.words[at] == 0 {
		at = (at + 1) % len(s.words)
	}
	return uint32(64*at + bits.TrailingZeros64(s.words[at]))
}

// others returns the slots from first to before end that are not in the set.
func (s *slotSet) others(first, end int) (slots []uint32) {
	for slot := first; slot < end; slot++ {
		others := ^s.words[slot/64] >> (slot % 64)
		if others == 0 {
			slot |= 63
			continue
		}
		if slot += bits.TrailingZeros64(others); slot < end {
			slots = append(slots, uint32(slot))
		}
	}
	return slots
}
