package shard_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/onsi/ginkgo/v2/reporters"
	"github.com/onsi/ginkgo/v2/types"
	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/e2e/internal/shard"
)

func TestShardsAreParsed(t *testing.T) {
	g := NewWithT(t)
	g.Expect(shard.Parse("")).To(Equal(shard.Shard{}))
	g.Expect(shard.Parse("2/3")).To(Equal(shard.Shard{Number: 2, Of: 3}))
	for _, wrong := range []string{"0/3", "4/3", "2", "2/3/4", "a/b", "-1/2", " 1/2", "1/1000000", "+1/2", "01/2"} {
		_, err := shard.Parse(wrong)
		g.Expect(err).To(MatchError(ContainSubstring("SHARD="+wrong)), wrong)
	}
}

func TestShardsTakeAboutAsLong(t *testing.T) {
	g := NewWithT(t)
	took := map[string]time.Duration{}
	specs := []string{"new 0", "new 1"} // as one of middling length
	for i := range 20 {
		name := fmt.Sprint("spec ", i)
		specs = append(specs, name)
		took[name] = time.Duration(i*i) * time.Second
	}
	lookup := func(spec string) (time.Duration, bool) { t, there := took[spec]; return t, there }
	packed := shard.Pack(specs, lookup, 3)
	g.Expect(packed).To(HaveLen(len(specs)))
	var load [4]time.Duration
	for spec, number := range packed {
		load[number] += took[spec]
	}
	g.Expect(load[0]).To(BeZero())
	for _, l := range load[1:] {
		g.Expect(l).To(BeNumerically("~", 823*time.Second, 110*time.Second))
	}
	specs[0], specs[21] = specs[21], specs[0]
	g.Expect(shard.Pack(specs, lookup, 3)).To(Equal(packed), "in whatever order they come")

	none := shard.Pack(specs, func(string) (time.Duration, bool) { return 0, false }, 30)
	var filled [31]int
	for _, number := range none {
		filled[number]++
	}
	g.Expect(filled[1:23]).To(HaveEach(1), "no shard runs nothing while another has two")
}

// leave writes what a shard of three specs leaves, each spec of the shard of that number.
func leave(t *testing.T, dir string, s shard.Shard, change func(*types.Report)) {
	t.Helper()
	g := NewWithT(t)
	report := types.Report{SuiteDescription: "vlandemux", SuiteSucceeded: true, SuiteConfig: types.SuiteConfig{LabelFilter: "(tcx) && (" + s.Label() + ")"}}
	for number := 1; number <= 3; number++ {
		state := types.SpecStateSkipped
		if number == s.Number {
			state = types.SpecStatePassed
		}
		report.SpecReports = append(report.SpecReports, types.SpecReport{
			LeafNodeType: types.NodeTypeIt, LeafNodeText: fmt.Sprint("spec ", number), State: state,
			LeafNodeLabels: []string{"tcx", shard.Shard{Number: number, Of: 3}.Label()},
		})
	}
	if change != nil {
		change(&report)
	}
	folder := filepath.Join(dir, fmt.Sprint("job-", s.Number))
	g.Expect(reporters.GenerateJSONReport(report, filepath.Join(folder, "report.json"))).To(Succeed())
	g.Expect(reporters.GenerateJUnitReport(report, filepath.Join(folder, "junit.xml"))).To(Succeed())
}

func TestTheSumIsGreenOnlyIfAllOfItRan(t *testing.T) {
	for name, want := range map[string]struct {
		change func(*types.Report) // of shard 2's report
		left   bool                // out: it left none
		fault  string
	}{
		"all":                {},
		"one that died":      {left: true, fault: "shard 2/3 has left no report"},
		"one that failed":    {change: func(r *types.Report) { r.SuiteSucceeded, r.SpecReports[1].State = false, types.SpecStateFailed }, fault: "shard 2/3 (job-2) has failed: 1 of its specs"},
		"one that ran none":  {change: func(r *types.Report) { r.SpecReports[1].State = types.SpecStateSkipped }, fault: "shard 2/3 (job-2) ran nothing"},
		"other times":        {change: func(r *types.Report) { r.SpecReports[0].LeafNodeLabels[1] = shard.Shard{Number: 2, Of: 3}.Label() }, fault: "packed by different times: \"spec 1\""},
		"the same one twice": {change: func(r *types.Report) { r.SuiteConfig.LabelFilter = shard.Shard{Number: 1, Of: 3}.Label() }, fault: "are both shard 1/3"},
		"no shard":           {change: func(r *types.Report) { r.SuiteConfig.LabelFilter = "" }, fault: "job-2 is no shard's report"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			dir := t.TempDir()
			leave(t, dir, shard.Shard{Number: 1, Of: 3}, nil)
			if !want.left {
				leave(t, dir, shard.Shard{Number: 2, Of: 3}, want.change)
			}
			leave(t, dir, shard.Shard{Number: 3, Of: 3}, nil)
			for range 2 { // merging leaves everything where it was
				sum, err := shard.Merge(dir)
				g.Expect(err).NotTo(HaveOccurred())
				if want.fault == "" {
					g.Expect(sum.Faults).To(BeEmpty())
					g.Expect(sum.Reports).To(HaveLen(3))
				} else {
					g.Expect(sum.Faults).To(ContainElement(ContainSubstring(want.fault)))
				}
			}
			g.Expect(filepath.Join(dir, "report.json")).To(BeARegularFile())
			g.Expect(os.ReadFile(filepath.Join(dir, "junit.xml"))).To(ContainSubstring("spec 1"))
		})
	}
	t.Run("nothing at all", func(t *testing.T) {
		g := NewWithT(t)
		sum, err := shard.Merge(t.TempDir())
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(sum.Faults).To(ConsistOf("no shard has left a report"))
	})
	t.Run("half a report", func(t *testing.T) {
		g := NewWithT(t)
		dir := t.TempDir()
		leave(t, dir, shard.Shard{Number: 1, Of: 3}, nil)
		g.Expect(os.MkdirAll(filepath.Join(dir, "job-2"), 0o755)).To(Succeed())
		g.Expect(os.WriteFile(filepath.Join(dir, "job-2", "report.json"), []byte(`[{"SuitePath`), 0o600)).To(Succeed())
		sum, err := shard.Merge(dir)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(sum.Faults).To(ContainElement(ContainSubstring("job-2 holds no report")))
	})
}
