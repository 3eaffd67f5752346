package result

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
)

func TestTicksAreFewAndRound(t *testing.T) {
	for _, c := range []struct {
		ticks
		least, most float64
		want        []string
	}{
		{ticks{}, 0, 470_000, []string{"0", "50,000", "100,000", "150,000", "200,000", "250,000", "300,000", "350,000", "400,000", "450,000"}},
		{ticks{}, 0, 1.3, []string{"0", "0.2", "0.4", "0.6", "0.8", "1", "1.2"}},
		{ticks{}, 0, 9, []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}},
		{ticks{logarithmic: true}, 35, 2500, []string{"50", "100", "200", "500", "1,000", "2,000"}},
	} {
		var labels []string
		for _, tick := range c.Ticks(c.least, c.most) {
			labels = append(labels, tick.Label)
		}
		NewWithT(t).Expect(labels).To(Equal(c.want))
	}
}

// A run that measured little leaves a small plot.
func TestThePlotIsAsLargeAsItsChartsAre(t *testing.T) {
	g := NewWithT(t)
	path := filepath.Join(t.TempDir(), "bench")
	rows := []Row{{Name: "program/phys2virt", Variant: "ours", Median: 100, Min: 90, Max: 110}, {Name: "program/phys2virt", Variant: "seed", Median: 1500, Min: 900, Max: 2000}}
	g.Expect(WritePlot(path, rows)).To(Succeed())
	svg, err := os.ReadFile(path + ".svg")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(svg)).To(MatchRegexp(`<svg width="340\.16pt" height="340\.16pt"`))
	g.Expect(path + ".png").To(BeARegularFile())
}

// There are no more colours than variants in the charts.
func TestWhatIsInNoChartTakesNoColour(t *testing.T) {
	rows := []Row{{Name: "memory/65536", Variant: "process"}, {Name: "lab-up/7", Variant: "bare"}}
	NewWithT(t).Expect(variantsOf(rows)).To(Equal([]string{"bare"}))
}
