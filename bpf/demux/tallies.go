package demux

import (
	"fmt"
	"math"
	"os"
	"slices"
	"sync/atomic"
	"unsafe"
)

// tallyStride is how many counters of clients a processor's part of client_tallies has: whole
// pages of them, so that no two processors write the same page. The kernel allocates all pages as the
// process that makes the map may (numactl), not each part near its processor: one of another NUMA node waits
// longer for counters that it has in no cache.
func tallyStride(capacity int) int {
	page := os.Getpagesize() / int(unsafe.Sizeof(bpfClientTally{}))
	return (capacity + page - 1) / page * page
}

// tallyEntries is the size of client_tallies.
func tallyEntries(capacity, cpus int) (uint32, error) {
	each, page := uint64(math.MaxUint32)/uint64(cpus), uint64(tallyStride(1))
	if most := each - each%page; uint64(capacity) > most {
		return 0, fmt.Errorf("counters of %d clients for each of %d possible processors are more than a map can have: take a capacity of %d or less",
			capacity, cpus, most)
	}
	return uint32(tallyStride(capacity) * cpus), nil
}

// readTallies adds up what all processors have counted for the slots, in the order of memory.
func readTallies(tallies []bpfClientTally, capacity int, slots []uint32) []bpfClientTally {
	totals := make([]bpfClientTally, len(slots))
	for part := range slices.Chunk(tallies, tallyStride(capacity)) {
		for i, slot := range slots {
			total, counted := &totals[i], &part[slot]
			total.Rx.Packets += atomic.LoadUint64(&counted.Rx.Packets)
			total.Rx.Bytes += atomic.LoadUint64(&counted.Rx.Bytes)
			total.Tx.Packets += atomic.LoadUint64(&counted.Tx.Packets)
			total.Tx.Bytes += atomic.LoadUint64(&counted.Tx.Bytes)
		}
	}
	return totals
}
