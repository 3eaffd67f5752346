package demux

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
)

// step is one thing that the writer does. A wait is passed only when no lookup runs that began before it.
type step struct {
	do   func(*clientTable)
	wait bool
}

// lookup is what programs do with is_entry_of and find_further of client.h, one load at a time.
type lookup struct {
	mac     uint64
	at      int // entries looked at
	matched bool
	done    bool
	found   bool
	value   uint64
}

func (l *lookup) step(t *clientTable) {
	e := &t.buckets[t.bucket(l.mac, l.at/bucketEntries)][l.at%bucketEntries]
	switch {
	case l.matched:
		l.found, l.value, l.done = true, e.value.Load(), true
	case e.key.Load() == l.mac:
		l.matched = true
	default:
		l.at++
		l.done = l.at == 2*bucketEntries
	}
}

func copyTable(t *clientTable) *clientTable {
	c := &clientTable{buckets: make([][bucketEntries]entry, len(t.buckets)), seeds: t.seeds, shift: t.shift, used: t.used}
	for b := range t.buckets {
		for i := range t.buckets[b] {
			c.buckets[b][i].key.Store(t.buckets[b][i].key.Load())
			c.buckets[b][i].value.Store(t.buckets[b][i].value.Load())
		}
	}
	return c
}

// interleave runs a lookup against the writer in every order that there can be, and hands each result to check with how many
// of the writer's steps had been done when the lookup began and when it ended.
func interleave(t *clientTable, steps []step, mac uint64, check func(l lookup, began, ended int)) int {
	count := 0
	var run func(t *clientTable, next int, l *lookup, began int)
	run = func(t *clientTable, next int, l *lookup, began int) {
		if l != nil && l.done {
			count++
			check(*l, began, next)
			return
		}
		if next < len(steps) && (!steps[next].wait || l == nil) {
			after := copyTable(t)
			if steps[next].do != nil {
				steps[next].do(after)
			}
			run(after, next+1, l, began)
		}
		if l == nil {
			run(t, next, &lookup{mac: mac}, next)
			return
		}
		advanced := *l
		advanced.step(t)
		run(t, next, &advanced, began)
	}
	run(t, 0, nil, 0)
	return count
}

// tableOf is a table of two buckets with clients in it. Slots are the clients' numbers.
func tableOf(g *WithT, macs ...uint64) *clientTable {
	t := newClientTable(make([][bucketEntries]entry, 2), [2]uint64{0x9e3779b97f4a7c15, 0xc2b2ae3d27d4eb4f})
	for slot, mac := range macs {
		_, ok := t.insert(mac, uint64(slot))
		g.Expect(ok).To(BeTrue())
	}
	return t
}

// macsIn returns n MACs whose buckets in that table are these.
func macsIn(first, second, n int) (macs []uint64) {
	t := newClientTable(make([][bucketEntries]entry, 2), [2]uint64{0x9e3779b97f4a7c15, 0xc2b2ae3d27d4eb4f})
	for mac := uint64(2); len(macs) < n; mac += 2 {
		if t.bucket(mac, 0) == first && t.bucket(mac, 1) == second {
			macs = append(macs, mac)
		}
	}
	return macs
}

func wait() step { return step{wait: true} }

// A client that is moved to its other bucket is found at each moment, with its own value.
func TestALookupFindsAClientThatIsMoved(t *testing.T) {
	g := NewWithT(t)
	for _, buckets := range [][2]int{{0, 1}, {1, 0}} { // of the client that is moved from 0 to 1: a lookup comes to either first
		// The newcomer's bucket, which is both of its, is full: of that client and of three that have no other.
		fixed := macsIn(0, 0, 4)
		newcomer := fixed[3]
		table := tableOf(g, fixed[0], fixed[1], fixed[2])
		movable := macsIn(buckets[0], buckets[1], 1)[0]
		free := table.free(0)
		free.value.Store(9)
		free.key.Store(movable)
		moves, ok := table.insert(newcomer, 20)
		g.Expect(ok).To(BeFalse())
		g.Expect(moves).NotTo(BeEmpty())
		index := func(e *entry) (int, int) {
			for b := range table.buckets {
				for i := range table.buckets[b] {
					if &table.buckets[b][i] == e {
						return b, i
					}
				}
			}
			return -1, -1
		}
		fb, fi := index(moves[0].from)
		tb, ti := index(moves[0].to)
		in := func(t *clientTable) move { return move{&t.buckets[fb][fi], &t.buckets[tb][ti]} }
		mac, want := movable, uint64(9)
		steps := []step{
			{do: func(t *clientTable) { in(t).copy() }}, wait(),
			{do: func(t *clientTable) { in(t).hide() }}, wait(),
			{do: func(t *clientTable) { in(t).from.release() }},
			{do: func(t *clientTable) { in(t).from.value.Store(99) }}, {do: func(t *clientTable) { in(t).from.key.Store(newcomer) }},
		}
		n := interleave(table, steps, mac, func(l lookup, began, ended int) {
			if !l.found || l.value != want {
				t.Errorf("began after %d steps, ended after %d: found %v, value %d, want %d", began, ended, l.found, l.value, want)
			}
		})
		t.Logf("%d interleavings", n)
	}
}

// An entry that goes to another client gives no lookup of the former one the other's value.
func TestALookupNeverSeesAnotherClientsValue(t *testing.T) {
	g := NewWithT(t)
	macs := macsIn(0, 1, 2)
	table := tableOf(g, macs[0])
	steps := []step{
		{do: func(t *clientTable) { t.hide(t.find(macs[0])) }}, wait(),
		{do: func(t *clientTable) {
			for e := range t.all {
				if e.key.Load() == hidden {
					e.release()
				}
			}
		}},
		{do: func(t *clientTable) { t.insert(macs[1], 7) }},
	}
	for _, mac := range macs {
		n := interleave(table, steps, mac, func(l lookup, began, ended int) {
			own := map[uint64]uint64{macs[0]: 0, macs[1]: 7}[mac]
			if l.found && l.value != own {
				t.Errorf("%x: began after %d steps, ended after %d: value %d of another client", mac, began, ended, l.value)
			}
			if mac == macs[1] && l.found != (began == len(steps)) && began == len(steps) {
				t.Errorf("%x is not found after its insertion", mac)
			}
		})
		t.Logf("%d interleavings", n)
	}
}

// Another worker is one store: a lookup finds the former or the new one.
func TestALookupDuringAReassignmentFindsOneOfBoth(t *testing.T) {
	g := NewWithT(t)
	mac := macsIn(1, 0, 1)[0]
	table := tableOf(g, mac)
	steps := []step{{do: func(t *clientTable) { t.find(mac).value.Store(5 << 32) }}, {do: func(t *clientTable) { t.find(mac).value.Store(6 << 32) }}}
	seen := map[string]bool{}
	interleave(table, steps, mac, func(l lookup, began, ended int) {
		g.Expect(l.found).To(BeTrue())
		seen[fmt.Sprint(l.value>>32)] = true
		g.Expect(l.value >> 32).To(BeElementOf(uint64(0), uint64(5), uint64(6)))
	})
	g.Expect(seen).To(HaveLen(3))
}

// Half full is what a table is when all its capacity is used: there is room for each client, with any seeds.
func TestATableTakesItsCapacity(t *testing.T) {
	for _, c := range []struct{ capacity, times int }{{50_000, 1}, {2048, 200}, {100, 5000}} {
		t.Run(fmt.Sprint(c.capacity), func(t *testing.T) {
			g, moved := NewWithT(t), 0
			for range c.times {
				moved += fill(g, c.capacity)
			}
			t.Logf("%d times %d clients, %d moves", c.times, c.capacity, moved)
		})
	}
}

// The products of MACs that follow one another are all the multiples of a few bits of the first seed. Two of them that
// nearly agree are the beginning of a cluster, which no second seed tells apart for all bases.
func TestSeedsKeepConsecutiveMACsApart(t *testing.T) {
	g := NewWithT(t)
	for range 100 {
		seeds, err := drawSeeds()
		g.Expect(err).NotTo(HaveOccurred())
		first := MAC{2, 0, 0, 0, 0, 0}.word() * seeds[0]
		for n := range 255 {
			apart := int64(MAC{2, 0, 0, 0, 0, byte(n + 1)}.word()*seeds[0] - first)
			g.Expect(max(apart, -apart)).To(BeNumerically(">", 1<<62/256), "%d MACs apart, seeds %x", n+1, seeds)
		}
	}
}

// fill puts so many clients, whose MACs follow one another, into a table for them, and returns how many had to move.
func fill(g *WithT, capacity int) (moved int) {
	seeds, err := drawSeeds()
	g.Expect(err).NotTo(HaveOccurred())
	table := newClientTable(make([][bucketEntries]entry, bucketsFor(capacity)), seeds)
	mac := func(n int) uint64 { return MAC{2, 0, 0, byte(n >> 16), byte(n >> 8), byte(n)}.word() }
	for n := range capacity {
		for {
			moves, ok := table.insert(mac(n), uint64(n))
			if ok {
				break
			}
			if len(moves) == 0 {
				g.Expect(n).To(Equal(capacity), "no room for one more, seeds %x", seeds)
			}
			for _, m := range moves {
				m.copy()
				m.hide()
				m.from.release()
				moved++
			}
		}
	}
	for n := range capacity {
		if e := table.find(mac(n)); e == nil || e.value.Load() != uint64(n) {
			g.Expect(mac(n)).To(BeNil(), "client %d is not found, seeds %x", n, seeds)
		}
	}
	return moved
}
