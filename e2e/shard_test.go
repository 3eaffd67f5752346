package e2e

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"

	"github.com/vlandemux/vlandemux/e2e/internal/page"
	"github.com/vlandemux/vlandemux/e2e/internal/shard"
	"github.com/vlandemux/vlandemux/scenarios"
)

// pack labels every spec with its shard, by the times of the last runs, and lets this process run those of its own.
func (s *suite) pack(own shard.Shard, config *types.SuiteConfig) {
	if own.Of == 0 {
		return
	}
	var specs []string
	for _, scenario := range scenarios.All() {
		for _, c := range scenario.Cases {
			for _, p := range s.points(c) {
				specs = append(specs, scenario.Name+" "+specText(c, p))
			}
		}
	}
	s.shards = map[string]ginkgo.Labels{}
	for spec, number := range shard.Pack(specs, s.history.Took, own.Of) {
		s.shards[spec] = ginkgo.Label(shard.Shard{Number: number, Of: own.Of}.Label())
	}
	if config.LabelFilter != "" {
		config.LabelFilter = "(" + config.LabelFilter + ") && "
	}
	config.LabelFilter += own.Label()
}

// sumUp merges what shards have left in folders below a folder (SHARDS) into one report and page there.
func (s *suite) sumUp(t *testing.T, folder string) {
	var err error
	if s.reports, err = fromRoot(folder); err != nil {
		t.Fatal(err)
	}
	if s.history, err = readHistory(s.reports); err != nil {
		t.Fatal(err)
	}
	sum, err := shard.Merge(s.reports)
	if err != nil {
		t.Fatal(err)
	}
	var facts []page.Fact
	for i, report := range sum.Reports {
		for j := range report.SpecReports {
			movedEvidence(&report.SpecReports[j], filepath.Join(s.reports, sum.Folders[i]))
		}
		facts = append(facts, page.Fact{Name: "Shard " + sum.Folders[i], Value: fmt.Sprintf("%.1f s, seed %d", report.RunTime.Seconds(), report.SuiteConfig.RandomSeed)})
	}
	for _, fault := range sum.Faults {
		t.Error(fault)
		facts = append(facts, page.Fact{Name: "Failed", Value: fault})
	}
	if err := s.writePage(facts, sum.Reports...); err != nil {
		t.Error(err)
	}
}

// movedEvidence says where a spec's evidence is now, in the shard's folder.
func movedEvidence(spec *types.SpecReport, folder string) {
	for i, e := range spec.ReportEntries {
		if e.Name == evidenceEntry {
			was, _, err := entry[string](spec, evidenceEntry)
			if err == nil {
				spec.ReportEntries[i].Value = types.WrapEntryValue(filepath.Join(folder, "evidence", filepath.Base(was)))
			}
		}
	}
}
