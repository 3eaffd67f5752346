// Package shard divides a suite between runners that share no network, and tells whether they have run all of it together.
package shard

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Shard is one of several parts of a suite, counted from 1. The zero value is a suite that is not divided.
type Shard struct{ Number, Of int }

// most is how many parts there can be: a job each.
const most = 256

// Parse reads "2/3", or "" for the zero value.
func Parse(text string) (s Shard, err error) {
	if text == "" {
		return s, nil
	}
	if n, err := fmt.Sscanf(text, "%d/%d", &s.Number, &s.Of); n != 2 || err != nil || s.String() != text || s.Number < 1 || s.Number > s.Of || s.Of > most {
		return Shard{}, fmt.Errorf("SHARD=%s is no shard: it must be its number and how many there are, such as 2/3, at most %d", text, most)
	}
	return s, nil
}

func (s Shard) String() string { return fmt.Sprintf("%d/%d", s.Number, s.Of) }

// Label is that of the shard's specs. Ginkgo's filters know no slash in it.
func (s Shard) Label() string { return fmt.Sprintf("shard %d of %d", s.Number, s.Of) }

// Pack gives each spec the number of its shard, so that all shards take about as long: the longest first, each to
// the shard that has least to do. A spec whose time is not known counts as one of middling length. Shards that know the same
// times pack the same.
func Pack(specs []string, took func(spec string) (time.Duration, bool), shards int) map[string]int {
	times, known := map[string]time.Duration{}, []time.Duration{}
	for _, spec := range specs {
		if t, there := took(spec); there {
			times[spec] = t
			known = append(known, t)
		}
	}
	middling := time.Second
	if len(known) > 0 {
		slices.Sort(known)
		middling = known[len(known)/2]
	}
	for _, spec := range specs {
		if _, there := times[spec]; !there {
			times[spec] = middling
		}
	}
	longest := slices.Clone(specs)
	slices.SortFunc(longest, func(a, b string) int { return cmp.Or(cmp.Compare(times[b], times[a]), cmp.Compare(a, b)) })
	packed, load := map[string]int{}, make([]time.Duration, shards)
	for _, spec := range longest {
		least := slices.Index(load, slices.Min(load))
		packed[spec] = least + 1
		load[least] += times[spec] + 1 // specs that take no time are spread as well
	}
	return packed
}
