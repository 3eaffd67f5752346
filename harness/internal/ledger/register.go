package ledger

import (
	"cmp"
	"math"
	"slices"
	"sort"
)

// write is one value given to a register at some moment between begin and end.
type write struct {
	value      uint64
	begin, end int64
	optional   bool // it may not have happened at all
	forgotten  bool // see audit.forget
}

// register is something a part of the lab remembers: written by frames and by
// hand, read by frames, each at an unknown moment of a known interval. It answers
// which values a read can have found. Zero is a value as any other.
type register struct {
	initial []uint64 // what it may hold before the first write
	writes  []write

	// Made by seal.
	ends    []int64 // of the writes that happened for certain, ascending
	floors  []int64 // floors[i]: the latest begin among the writes of ends[:i+1]
	epochs  []epoch // runs of writes of one value, in the order of begin
	reaches []int64 // reaches[i]: the latest end among writes of the same epoch up to i
}

type epoch struct {
	value uint64
	first int   // index of its first write
	reach int64 // the latest end of this epoch's and all earlier writes
}

func (r *register) write(value uint64, begin, end int64) {
	r.writes = append(r.writes, write{value: value, begin: begin, end: max(begin, end)})
}

// maybe adds a write that may not have happened.
func (r *register) maybe(value uint64, begin, end int64) {
	r.writes = append(r.writes, write{value: value, begin: begin, end: end, optional: true})
}

// seal makes the register readable. Writing after it needs another seal.
func (r *register) seal() {
	byBegin := func(a, b write) int { return cmp.Compare(a.begin, b.begin) }
	if !slices.IsSortedFunc(r.writes, byBegin) {
		slices.SortStableFunc(r.writes, byBegin)
	}
	r.ends, r.floors, r.epochs, r.reaches = nil, nil, nil, make([]int64, len(r.writes))
	certain := make([]write, 0, len(r.writes))
	all := int64(math.MinInt64)
	for i, w := range r.writes {
		all = max(all, w.end)
		if i == 0 || w.value != r.writes[i-1].value {
			r.epochs = append(r.epochs, epoch{value: w.value, first: i})
			r.reaches[i] = w.end
		} else {
			r.reaches[i] = max(r.reaches[i-1], w.end)
		}
		r.epochs[len(r.epochs)-1].reach = all
		if !w.optional {
			certain = append(certain, w)
		}
	}
	byEnd := func(a, b write) int { return cmp.Compare(a.end, b.end) }
	if !slices.IsSortedFunc(certain, byEnd) {
		slices.SortStableFunc(certain, byEnd)
	}
	floor := int64(math.MinInt64)
	r.ends, r.floors = make([]int64, len(certain)), make([]int64, len(certain))
	for i, w := range certain {
		floor = max(floor, w.begin)
		r.ends[i], r.floors[i] = w.end, floor
	}
}

// legal appends to into every value that a read between in and out can have
// found, latest first. A write is out of the question if it began after the read
// was over, or if another write certainly came between the two.
func (r *register) legal(in, out int64, into []uint64) []uint64 {
	first := len(into)
	add := func(v uint64) {
		if !slices.Contains(into[first:], v) {
			into = append(into, v)
		}
	}
	floor, overwritten := int64(math.MinInt64), false
	if n := sort.Search(len(r.ends), func(i int) bool { return r.ends[i] >= in }); n > 0 {
		floor, overwritten = r.floors[n-1], true
	}
	last := sort.Search(len(r.writes), func(i int) bool { return r.writes[i].begin > out }) - 1
	if last >= 0 {
		e := sort.Search(len(r.epochs), func(i int) bool { return r.epochs[i].first > last }) - 1
		for at := last; e >= 0; e-- {
			if overwritten && r.epochs[e].reach < floor {
				break
			}
			if !overwritten || r.reaches[at] >= floor {
				add(r.epochs[e].value)
			}
			at = r.epochs[e].first - 1
		}
	}
	if !overwritten {
		for _, v := range r.initial {
			add(v)
		}
	}
	return into
}

// sole is the one value a read between in and out must have found; false if there
// can have been several.
func (r *register) sole(in, out int64) (uint64, bool) {
	var buf [4]uint64
	values := r.legal(in, out, buf[:0])
	if len(values) != 1 {
		return 0, false
	}
	return values[0], true
}

// last is the value after everything, which is false for none (zero).
func (r *register) last() (uint64, bool) {
	var v uint64
	if len(r.initial) > 0 {
		v = r.initial[0]
	}
	for _, w := range r.writes {
		if !w.optional {
			v = w.value
		}
	}
	return v, v != 0
}
