package result

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/perf/benchfmt"
)

// WriteText writes every sample in the format of Go benchmarks, for benchstat. The
// names begin with a capital letter there.
func (r *Run) WriteText(path string, machine Machine) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("writing samples: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	w := benchfmt.NewWriter(file)
	config := []benchfmt.Config{
		{Key: "kernel", Value: []byte(machine.Kernel), File: true},
		{Key: "cpu", Value: []byte(machine.CPU), File: true},
	}
	for _, key := range r.order {
		name := "Benchmark" + strings.ToUpper(key.Name[:1]) + key.Name[1:] + "/variant=" + key.Variant
		for _, value := range r.samples[key] {
			record := benchfmt.Result{
				Config: config, Name: benchfmt.Name(name[len("Benchmark"):]), Iters: 1,
				Values: []benchfmt.Value{{Value: value, Unit: key.Unit}},
			}
			if err := w.Write(&record); err != nil {
				return fmt.Errorf("writing samples: %w", err)
			}
		}
	}
	return nil
}

// ReadText reads what WriteText has written.
func ReadText(path string) (*Run, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading samples: %w", err)
	}
	defer file.Close() //nolint:errcheck // only read
	var run Run
	reader := benchfmt.NewReader(file, path)
	for reader.Scan() {
		switch record := reader.Result().(type) {
		case *benchfmt.SyntaxError:
			return nil, fmt.Errorf("reading samples: %w", record)
		case *benchfmt.Result:
			name, variant, found := strings.Cut(string(record.Name), "/variant=")
			if !found {
				return nil, fmt.Errorf("reading samples from %s: %s names no variant", path, record.Name)
			}
			for _, v := range record.Values {
				if v.OrigUnit != "" { // the reader turns ns into seconds
					v.Value, v.Unit = v.OrigValue, v.OrigUnit
				}
				run.Add(Sample{Name: strings.ToLower(name[:1]) + name[1:], Variant: variant, Unit: v.Unit, Value: v.Value})
			}
		}
	}
	if err := reader.Err(); err != nil {
		return nil, fmt.Errorf("reading samples from %s: %w", path, err)
	}
	return &run, nil
}
