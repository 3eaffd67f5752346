package demux

import (
	"math/bits"
	"sync/atomic"
)

// clientTable is the map `clients`, in memory: a cuckoo hash table that the
// programs read while it is written. A MAC has two buckets and is in one of them.
//
// The writer keeps to this, so that a reader finds each client that is there
// before and after, whatever it has read already:
//
//   - A client becomes known by its key, stored after its value.
//   - Another value (another worker, or none) is one store.
//   - A client that is moved to its other bucket is in both until no program runs
//     that may have looked into the one before it came and the other after it went.
//   - An entry serves another MAC only once no program runs that has seen the key.
//
// Waiting for the programs is the caller's part. Methods are called with the lock of the Demux held.
type clientTable struct {
	buckets [][4]entry
	seeds   [2]uint64
	shift   int
	used    int
}

// entry is struct client of types.h.
type entry struct {
	key, value atomic.Uint64
}

const (
	bucketEntries     = 4
	secondBucketShift = 21
	macMask           = 1<<48 - 1
	minBuckets        = 64
)

// bucketsFor is the number of buckets of a table for that many clients. At most every second entry is used: until it
// is full, one insertion in 250 finds both of its buckets full, and one client in 28 is in its second bucket.
func bucketsFor(capacity int) int {
	needed := max((capacity*2+bucketEntries-1)/bucketEntries, minBuckets)
	return 1 << bits.Len(uint(needed-1))
}

func newClientTable(buckets [][4]entry, seeds [2]uint64) *clientTable {
	t := &clientTable{buckets: buckets, seeds: seeds, shift: tableShift(len(buckets))}
	for e := range t.all {
		if e.key.Load() != 0 {
			t.used++
		}
	}
	return t
}

func tableShift(buckets int) int { return 64 - bits.Len(uint(buckets-1)) }

// word is mac_word of client.h.
func (m MAC) word() uint64 {
	var word uint64
	for i, octet := range m {
		word |= uint64(octet) << (8 * i)
	}
	return word
}

func macOf(word uint64) (m MAC) {
	for i := range m {
		m[i] = byte(word >> (8 * i))
	}
	return m
}

// all yields every entry, free ones too.
func (t *clientTable) all(yield func(*entry) bool) {
	for b := range t.buckets {
		for i := range t.buckets[b] {
			if !yield(&t.buckets[b][i]) {
				return
			}
		}
	}
}

// hash is mac_hash of client.h.
func (t *clientTable) hash(mac uint64) uint64 {
	product := mac * t.seeds[0]
	return (product ^ product>>32) * t.seeds[1]
}

// bucket is the first or second one of the MAC.
func (t *clientTable) bucket(mac uint64, which int) int {
	return int(t.hash(mac) << (which * secondBucketShift) >> t.shift)
}

// home is where the programs expect the slot of the MAC.
func (t *clientTable) home(mac uint64, capacity int) uint32 {
	return uint32(t.hash(mac) >> 32 * uint64(capacity) >> 32)
}

// find returns the entry of the MAC, nil if it has none.
func (t *clientTable) find(mac uint64) *entry {
	for which := range t.seeds {
		bucket := &t.buckets[t.bucket(mac, which)]
		for i := range bucket {
			if bucket[i].key.Load() == mac {
				return &bucket[i]
			}
		}
	}
	return nil
}

// insert adds a MAC that is not in the table, to its first bucket if there is room: the programs wait for
// one bucket after the other. When both are full it returns the moves that make room, and nothing is changed.
func (t *clientTable) insert(mac, value uint64) (moves []move, ok bool) {
	for which := range t.seeds {
		if e := t.free(t.bucket(mac, which)); e != nil {
			e.value.Store(value)
			e.key.Store(mac)
			t.used++
			return nil, true
		}
	}
	return t.path(mac), false
}

// free returns a free entry of the bucket, nil if there is none.
func (t *clientTable) free(bucket int) *entry {
	for i := range t.buckets[bucket] {
		if e := &t.buckets[bucket][i]; e.key.Load() == 0 {
			return e
		}
	}
	return nil
}

// move takes the client of one entry to another, which is free.
type move struct{ from, to *entry }

// copy is the first half: the client is in both entries.
func (m move) copy() {
	m.to.value.Store(m.from.value.Load())
	m.to.key.Store(m.from.key.Load())
}

// hide is the second half, when no program runs that had missed the copy. The old
// entry is free after another wait, and release.
func (m move) hide() { m.from.key.Store(hidden) }

// maxPath bounds the search for a free entry: more buckets than any path of a
// table that is half full has to look at.
const maxPath = 4096

// path finds the shortest way to make room in one of the two buckets of a MAC. The
// moves are to be carried out in order, each whole before the next.
func (t *clientTable) path(mac uint64) []move {
	type node struct {
		bucket, parent int // parent is an index into queue, -1 for a root
		entry          *entry
	}
	queue := []node{{t.bucket(mac, 0), -1, nil}, {t.bucket(mac, 1), -1, nil}}
	seen := map[int]bool{queue[0].bucket: true, queue[1].bucket: true}
	for at := 0; at < len(queue) && at < maxPath; at++ {
		for i := range t.buckets[queue[at].bucket] {
			e := &t.buckets[queue[at].bucket][i]
			other := e.key.Load() & macMask
			next := t.bucket(other, 0)
			if next == queue[at].bucket {
				next = t.bucket(other, 1)
			}
			if free := t.free(next); free != nil {
				moves := []move{{e, free}}
				for n := at; queue[n].parent >= 0; n = queue[n].parent {
					moves = append(moves, move{queue[n].entry, moves[len(moves)-1].from})
				}
				return moves
			}
			if !seen[next] {
				seen[next] = true
				queue = append(queue, node{next, at, e})
			}
		}
	}
	return nil
}

// hide takes a client away: from now on no program that starts finds it. The entry
// must not serve another before release, which is for when no program runs that did.
func (t *clientTable) hide(e *entry) {
	e.key.Store(hidden)
	t.used--
}

// hidden is the key of an entry that is not free yet: no MAC has it.
const hidden = 1 << 63

func (e *entry) release() {
	e.value.Store(0)
	e.key.Store(0)
}
