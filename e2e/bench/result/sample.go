// Package result is what measurements become: rows for machines, a table and a
// plot for people, and a comparison with an earlier run.
package result

// Sample is one measurement.
type Sample struct {
	Name    string  `json:"name"`
	Variant string  `json:"variant"`
	Unit    string  `json:"unit"`
	Value   float64 `json:"value"`
}
