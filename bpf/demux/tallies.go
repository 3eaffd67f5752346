package demux

import (
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
