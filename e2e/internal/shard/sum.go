package shard

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/onsi/ginkgo/v2/reporters"
	"github.com/onsi/ginkgo/v2/types"
)

// Sum is what the shards of a suite have found together.
type Sum struct {
	Reports []types.Report // of one shard each
	Folders []string       // where its files are, below that of the shards
	// Faults are why the suite has not been run as a whole, or has failed; none if it is green.
	Faults []string
}

// Merge reads what shards have left in folders below dir, and merges their report.json and junit.xml into those of dir, by
// Ginkgo's own functions.
func Merge(dir string) (*Sum, error) {
	sum := &Sum{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("looking for the shards' reports: %w", err)
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, entry.Name(), "report.json"))
		var reports []types.Report
		if err == nil {
			err = json.Unmarshal(data, &reports)
		}
		if err != nil || len(reports) != 1 {
			sum.Faults = append(sum.Faults, fmt.Sprintf("%s holds no report of a suite (%d found): %v", entry.Name(), len(reports), err))
			continue
		}
		sum.Reports, sum.Folders = append(sum.Reports, reports[0]), append(sum.Folders, entry.Name())
	}
	sum.judge()
	for name, merge := range map[string]func([]string, string) ([]string, error){
		"report.json": reporters.MergeAndCleanupJSONReports, "junit.xml": reporters.MergeAndCleanupJUnitReports,
	} {
		if err := sum.merge(dir, name, merge); err != nil {
			return nil, fmt.Errorf("merging the shards' %s: %w", name, err)
		}
	}
	return sum, nil
}

// merge hands copies to a function that removes what it has read.
func (s *Sum) merge(dir, name string, merge func([]string, string) ([]string, error)) error {
	temporary, err := os.MkdirTemp("", "vlandemux-shards-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temporary) //nolint:errcheck // what stays is a temporary file
	var copies []string
	for i, folder := range s.Folders {
		data, err := os.ReadFile(filepath.Join(dir, folder, name))
		if err != nil {
			return err
		}
		copies = append(copies, filepath.Join(temporary, fmt.Sprintf("%d-%s", i, name)))
		if err := os.WriteFile(copies[i], data, 0o600); err != nil {
			return err
		}
	}
	messages, err := merge(copies, filepath.Join(dir, name))
	if err == nil && len(messages) > 0 {
		err = fmt.Errorf("%s", strings.Join(messages, "; "))
	}
	return err
}

func (s *Sum) judge() {
	fault := func(format string, args ...any) { s.Faults = append(s.Faults, fmt.Sprintf(format, args...)) }
	if len(s.Reports) == 0 {
		fault("no shard has left a report")
		return
	}
	homes, ran, focused := map[string]map[string]bool{}, map[string]bool{}, false
	seen, all := map[Shard]string{}, map[int]bool{}
	for i, report := range s.Reports {
		folder := s.Folders[i]
		var own Shard
		if at := strings.LastIndex(report.SuiteConfig.LabelFilter, "shard "); at >= 0 {
			_, _ = fmt.Sscanf(report.SuiteConfig.LabelFilter[at:], "shard %d of %d", &own.Number, &own.Of) // zero if it is none
		}
		switch {
		case own.Of == 0:
			fault("%s is no shard's report: it was run without SHARD", folder)
		case seen[own] != "":
			fault("%s and %s are both shard %s", seen[own], folder, own)
		}
		seen[own], all[own.Of] = folder, true
		focused = focused || len(report.SuiteConfig.FocusStrings)+len(report.SuiteConfig.SkipStrings) > 0
		count, failed := 0, 0
		for _, spec := range report.SpecReports {
			if spec.LeafNodeType != types.NodeTypeIt {
				continue
			}
			if spec.Failed() {
				failed++
			}
			name := spec.FullText()
			if homes[name] == nil {
				homes[name] = map[string]bool{}
			}
			for _, label := range spec.Labels() {
				if strings.HasPrefix(label, "shard ") {
					homes[name][label] = true
				}
			}
			if !spec.State.Is(types.SpecStateSkipped | types.SpecStatePending) {
				count, ran[name] = count+1, true
			}
		}
		if count == 0 {
			fault("shard %s (%s) ran nothing", own, folder)
		}
		if !report.SuiteSucceeded {
			fault("shard %s (%s) has failed: %s", own, folder, strings.Join(append(report.SpecialSuiteFailureReasons, fmt.Sprintf("%d of its specs", failed)), ", "))
		}
	}
	if len(all) > 1 {
		fault("the shards are not of one division: %v", slices.Sorted(maps.Keys(all)))
	}
	for n := range all {
		for k := 1; k <= n; k++ {
			if seen[Shard{k, n}] == "" {
				fault("shard %s has left no report", Shard{k, n})
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(homes)) {
		switch {
		case len(homes[name]) > 1:
			fault("the shards were packed by different times: %q belongs to %q", name, slices.Sorted(maps.Keys(homes[name])))
		case !ran[name] && !focused:
			fault("never ran: %s", name)
		}
	}
}
