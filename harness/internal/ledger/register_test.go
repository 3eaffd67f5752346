package ledger

import (
	"math/rand/v2"
	"slices"
	"testing"

	. "github.com/onsi/gomega"
)

// possible is the definition: what legal says, one write at a time.
func possible(initial []uint64, writes []write, in, out int64) []uint64 {
	var values []uint64
	add := func(v uint64) {
		if !slices.Contains(values, v) {
			values = append(values, v)
		}
	}
	overwritten := func(end int64) bool {
		return slices.ContainsFunc(writes, func(w write) bool { return !w.optional && w.begin > end && w.end < in })
	}
	if !slices.ContainsFunc(writes, func(w write) bool { return !w.optional && w.end < in }) {
		for _, v := range initial {
			add(v)
		}
	}
	for _, w := range writes {
		if w.begin <= out && !overwritten(w.end) {
			add(w.value)
		}
	}
	slices.Sort(values)
	return values
}

func TestARegisterGivesWhatAReadCanHaveFound(t *testing.T) {
	g := NewWithT(t)
	rng := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		r := register{initial: []uint64{rng.Uint64N(3)}}
		for range rng.IntN(12) {
			begin := rng.Int64N(100)
			end := begin + rng.Int64N(1+rng.Int64N(40))
			if rng.IntN(4) == 0 {
				r.maybe(rng.Uint64N(5), begin, end)
			} else {
				r.write(rng.Uint64N(5), begin, end)
			}
		}
		writes := slices.Clone(r.writes)
		r.seal()
		for range 20 {
			in := rng.Int64N(120) - 10
			out := in + rng.Int64N(20)
			got := r.legal(in, out, nil)
			slices.Sort(got)
			g.Expect(got).To(Equal(possible(r.initial, writes, in, out)), "%v read %d to %d", writes, in, out)
		}
	}
}

func TestARegisterKnowsOrder(t *testing.T) {
	g := NewWithT(t)
	r := register{initial: []uint64{0}}
	r.write(1, 10, 20)
	r.write(2, 30, 40)
	r.seal()
	for _, test := range []struct {
		in, out int64
		want    []uint64
	}{
		{0, 9, []uint64{0}},
		{0, 10, []uint64{1, 0}},
		{20, 29, []uint64{1, 0}},
		{21, 29, []uint64{1}},
		{21, 30, []uint64{2, 1}},
		{40, 41, []uint64{2, 1}},
		{41, 41, []uint64{2}},
	} {
		g.Expect(r.legal(test.in, test.out, nil)).To(Equal(test.want), "read %d to %d", test.in, test.out)
	}
}
