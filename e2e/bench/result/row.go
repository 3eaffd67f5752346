package result

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
)

// Row is what all samples of one thing come to.
type Row struct {
	Name    string  `json:"name"`
	Variant string  `json:"variant"`
	Unit    string  `json:"unit"`
	Median  float64 `json:"median"`
	Min     float64 `json:"min"`
	Max     float64 `json:"max"`
	N       int     `json:"n"`

	// Ratio compares it with what stands beside it.
	Ratio Ratio `json:"-"`
}

// Ratio is of samples of the same round, which were taken side by side: the clock of a processor may change within a run.
type Ratio struct {
	To               string // the variant, "" for none
	Median, Min, Max float64
}

// Run is the result of one run of the bench: its samples by name and variant, in
// the order in which the names have appeared first.
type Run struct {
	order   []Sample // Value is not used
	samples map[Sample][]float64
}

// Add adds a sample.
func (r *Run) Add(s Sample) {
	value := s.Value
	s.Value = 0
	if r.samples == nil {
		r.samples = map[Sample][]float64{}
	}
	if _, known := r.samples[s]; !known {
		at := len(r.order)
		for i, earlier := range r.order {
			if earlier.Name == s.Name {
				at = i + 1
			}
		}
		r.order = slices.Insert(r.order, at, s)
	}
	r.samples[s] = append(r.samples[s], value)
}

// Rows returns a row for each name and variant.
func (r *Run) Rows() []Row {
	rows := make([]Row, 0, len(r.order))
	for _, key := range r.order {
		values := slices.Sorted(slices.Values(r.samples[key]))
		rows = append(rows, Row{
			Name: key.Name, Variant: key.Variant, Unit: key.Unit,
			Median: median(values), Min: values[0], Max: values[len(values)-1], N: len(values), Ratio: r.ratio(key),
		})
	}
	return rows
}

func (r *Run) ratio(of Sample) Ratio {
	for _, base := range []string{"limit", "bare", "direct", "drop"} {
		to, ratios := r.samples[Sample{Name: of.Name, Variant: base, Unit: of.Unit}], []float64{}
		for i, value := range r.samples[of] {
			if i < len(to) && to[i] != 0 {
				ratios = append(ratios, value/to[i])
			}
		}
		if len(ratios) > 0 {
			slices.Sort(ratios)
			return Ratio{base, median(ratios), ratios[0], ratios[len(ratios)-1]}
		}
	}
	return Ratio{}
}

// median of sorted values, at least one.
func median(values []float64) float64 {
	middle := len(values) / 2
	if len(values)%2 == 1 {
		return values[middle]
	}
	return (values[middle-1] + values[middle]) / 2
}

// WriteJSON writes the rows, one a line, as an array.
func WriteJSON(path string, rows []Row) error {
	text := []byte("[\n")
	for i, row := range rows {
		line, err := json.Marshal(row)
		if err != nil {
			return fmt.Errorf("encoding row %s: %w", row.Name, err)
		}
		text = append(append(text, "  "...), line...)
		if i < len(rows)-1 {
			text = append(text, ',')
		}
		text = append(text, '\n')
	}
	if err := os.WriteFile(path, append(text, "]\n"...), 0o644); err != nil {
		return fmt.Errorf("writing rows: %w", err)
	}
	return nil
}

// ReadJSON reads what WriteJSON has written.
func ReadJSON(path string) ([]Row, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading rows: %w", err)
	}
	var rows []Row
	if err := json.Unmarshal(text, &rows); err != nil {
		return nil, fmt.Errorf("reading rows from %s: %w", path, err)
	}
	for _, row := range rows {
		if row.Name == "" || row.N < 1 {
			return nil, fmt.Errorf("reading rows from %s: %w", path, errors.New("a row has no name or no samples: is it a bench.json?"))
		}
	}
	return rows, nil
}
