package result_test

import (
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/e2e/bench/result"
)

func runOf(values map[string][]float64) *result.Run {
	var run result.Run
	for _, name := range []string{"program/phys2virt", "frames/60", "fed/60", "tcp"} {
		unit := "ns"
		if name != "program/phys2virt" {
			unit = "frames/s"
		}
		for _, value := range values[name] {
			run.Add(result.Sample{Name: name, Variant: "ours", Unit: unit, Value: value})
		}
	}
	return &run
}

// write writes a run's rows, and its samples too if asked for.
func write(t *testing.T, run *result.Run, samples bool) string {
	t.Helper()
	g := NewWithT(t)
	path := filepath.Join(t.TempDir(), "old.json")
	g.Expect(result.WriteJSON(path, run.Rows())).To(Succeed())
	if samples {
		g.Expect(run.WriteText(result.TextPath(path), result.Machine{Kernel: "6.18", CPU: "a CPU"})).To(Succeed())
	}
	return path
}

func TestOnlyChangesBeyondTheNoiseAreTold(t *testing.T) {
	old := runOf(map[string][]float64{
		"program/phys2virt": {100, 101, 102, 103, 104, 105},
		"frames/60":         {10, 20, 30, 40, 50, 60},
		"tcp":               {1, 2, 3, 4, 5, 50.5},
	})
	now := runOf(map[string][]float64{
		"program/phys2virt": {80, 81, 82, 83, 84, 85},      // clearly better: less is better
		"frames/60":         {15, 25, 35, 45, 55, 65},      // within the noise
		"fed/60":            {70},                          // not measured then
		"tcp":               {50, 51, 52, 53, 54, 55, 56.}, // better, but the ranges meet
	})
	tests := []struct {
		name    string
		samples bool
		told    []string
	}{
		{"with the samples beside the rows", true, []string{"program/phys2virt", "tcp"}},
		{"with rows alone", false, []string{"program/phys2virt"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			changes, err := now.Compare(write(t, old, test.samples))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(changes).To(HaveLen(4))
			var told []string
			for _, c := range changes {
				if c.Significant {
					told = append(told, c.Name)
				}
			}
			g.Expect(told).To(Equal(test.told))
			var text strings.Builder
			g.Expect(result.WriteChanges(&text, changes)).To(Succeed())
			g.Expect(text.String()).To(MatchRegexp(`program/phys2virt +ours +102 → 82\.5 +ns +-19\.5 % +better`))
			g.Expect(text.String()).To(MatchRegexp(`fed/60 +ours +70.0 +frames/s +new\n`))
			g.Expect(text.String()).To(ContainSubstring("of 3 changed"))
		})
	}
}

func TestRowsSurviveTheFile(t *testing.T) {
	g := NewWithT(t)
	run := runOf(map[string][]float64{"program/phys2virt": {3, 1, 2}, "tcp": {7}})
	rows, err := result.ReadJSON(write(t, run, false))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(rows).To(Equal([]result.Row{
		{Name: "program/phys2virt", Variant: "ours", Unit: "ns", Median: 2, Min: 1, Max: 3, N: 3},
		{Name: "tcp", Variant: "ours", Unit: "frames/s", Median: 7, Min: 7, Max: 7, N: 1},
	}))
}
