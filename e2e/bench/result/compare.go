package result

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"text/tabwriter"

	"golang.org/x/perf/benchmath"
)

// Change is what became of one name and variant since an earlier run.
type Change struct {
	Row
	Old Row // its N is 0 where the earlier run has no such row
	// P is the probability that noise alone makes such a difference.
	P float64
	// Significant says that P is below the level that benchstat uses, 0.05.
	Significant bool
}

// Compare compares the run with the one whose rows are in the file. Where the
// text file that is written along with it is still beside it, it is the
// Mann-Whitney U test of all samples, as in benchstat. Rows alone show a change only where
// the ranges do not meet, for which they have all that this test needs.
func (r *Run) Compare(path string) ([]Change, error) {
	old, err := ReadJSON(path)
	if err != nil {
		return nil, err
	}
	earlier, err := ReadText(TextPath(path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var changes []Change
	for _, row := range r.Rows() {
		i := slices.IndexFunc(old, func(o Row) bool { return o.Name == row.Name && o.Variant == row.Variant && o.Unit == row.Unit })
		if i < 0 {
			changes = append(changes, Change{Row: row})
			continue
		}
		c := Change{Row: row, Old: old[i]}
		key := Sample{Name: row.Name, Variant: row.Variant, Unit: row.Unit}
		before, apart := c.Old.spread(), c.Old.Max < row.Min || row.Max < c.Old.Min
		if earlier != nil && len(earlier.samples[key]) > 0 {
			before = slices.Clone(earlier.samples[key])
		} else if !apart {
			c.P = 1
			changes = append(changes, c)
			continue
		}
		test := benchmath.AssumeNothing.Compare(
			benchmath.NewSample(before, &benchmath.DefaultThresholds),
			benchmath.NewSample(slices.Clone(r.samples[key]), &benchmath.DefaultThresholds))
		c.P, c.Significant = test.P, test.P < test.Alpha
		changes = append(changes, c)
	}
	return changes, nil
}

// spread are values with the row's range and median. Which values they are does
// not matter to a test of ranks when the other sample lies outside the range.
func (r Row) spread() []float64 {
	values := make([]float64, r.N)
	for i := range values {
		values[i] = r.Median
	}
	values[0], values[r.N-1] = r.Min, r.Max
	return values
}

// TextPath is where the samples to the rows in path are.
func TextPath(path string) string { return strings.TrimSuffix(path, ".json") + ".txt" }

// better reports whether more of the unit is better.
func better(unit string) bool { return strings.HasSuffix(unit, "/s") }

// WriteChanges writes what changed beyond the noise, and how much did not.
func WriteChanges(w io.Writer, changes []Change) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	same, added := 0, 0
	for _, c := range changes {
		if c.Old.N == 0 {
			added++
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\tnew\n", c.Name, c.Variant, number(c.Median), c.Unit)
			continue
		}
		if !c.Significant {
			same++
			continue
		}
		word := "worse"
		if (c.Median > c.Old.Median) == better(c.Unit) {
			word = "better"
		}
		fmt.Fprintf(table, "%s\t%s\t%s → %s\t%s\t%+.1f %%\t%s\tp=%.3f n=%d+%d\n", c.Name, c.Variant,
			number(c.Old.Median), number(c.Median), c.Unit, 100*(c.Median/c.Old.Median-1), word, c.P, c.Old.N, c.N)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	compared := len(changes) - added
	_, err := fmt.Fprintf(w, "%d of %d changed beyond the noise (Mann-Whitney U test, p < 0.05)\n", compared-same, compared)
	return err
}
