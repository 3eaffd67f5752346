package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"

	"github.com/vlandemux/vlandemux/e2e/internal/page"
	"github.com/vlandemux/vlandemux/harness"
)

// evidenceEntry is the report entry of each failed spec that names its folder.
const evidenceEntry = "evidence"

// windowsEntry is the report entry of each spec that has what the ledger found.
const windowsEntry = "windows"

// closedWindows are for the page and report.json alone: people read the verdicts elsewhere.
type closedWindows []harness.ClosedWindow

func (w closedWindows) String() string { return fmt.Sprintf("%d windows", len(w)) }

func reportWindows(lab *harness.Lab) {
	windows := closedWindows(lab.ClosedWindows())
	for i, w := range windows {
		windows[i].Verdict = w.Verdict.Brief()
	}
	ginkgo.AddReportEntry(windowsEntry, windows, ginkgo.ReportEntryVisibilityNever)
}

// entry gives the value of a spec's report entry, which may be of another Ginkgo process.
func entry[T any](spec *types.SpecReport, name string) (value T, there bool, err error) {
	for _, e := range spec.ReportEntries {
		if e.Name != name {
			continue
		}
		if value, there = e.GetRawValue().(T); there {
			return value, true, nil
		}
		return value, true, json.Unmarshal([]byte(e.Value.AsJSON), &value)
	}
	return value, false, nil
}

// writePage writes report.html of a run, or of its shards, and keeps the specs' times for the next run.
func (s *suite) writePage(facts []page.Fact, reports ...ginkgo.Report) error {
	run := &page.Run{Title: "vlandemux end to end", Facts: facts}
	done := map[string]bool{} // by a shard; others have skipped it
	for i := range reports {
		report := &reports[i]
		if run.Started.IsZero() || report.StartTime.Before(run.Started) {
			run.Started = report.StartTime
		}
		run.Took = max(run.Took, report.RunTime)
		for j := range report.SpecReports {
			if spec := &report.SpecReports[j]; !spec.State.Is(types.SpecStateSkipped) {
				done[spec.FullText()] = true
			}
		}
	}
	for i := range reports {
		for j := range reports[i].SpecReports {
			spec := &reports[i].SpecReports[j]
			if len(reports) > 1 && spec.State.Is(types.SpecStateSkipped) && (done[spec.FullText()] || i > 0) {
				continue
			}
			if spec.LeafNodeType != types.NodeTypeIt {
				if failed(spec) { // such as BeforeSuite: no spec has run
					failure := failureOf(spec)
					run.Specs = append(run.Specs, page.Spec{
						Scenario: spec.LeafNodeType.String(), Text: spec.LeafNodeText, State: page.Failed, Started: spec.StartTime, Took: spec.RunTime,
						Failure: failure.Message, Where: fromHere(failure.Location), Output: spec.CapturedGinkgoWriterOutput,
					})
				}
				continue
			}
			shown, err := s.pageSpec(spec, reports[i].SuiteConfig.RandomSeed)
			if err != nil {
				return fmt.Errorf("reading what was reported of %q: %w", spec.FullText(), err)
			}
			run.Specs = append(run.Specs, shown)
		}
	}
	var err error
	if run.Bench, err = page.ReadBench(filepath.Join(s.reports, "bench")); err != nil {
		return err
	}
	s.history.Add(run)
	if err := page.Write(filepath.Join(s.reports, "report.html"), run); err != nil {
		return err
	}
	return s.history.Write(filepath.Join(s.reports, "history.json"))
}

func (s *suite) pageSpec(spec *types.SpecReport, seed int64) (page.Spec, error) {
	failure := failureOf(spec)
	shown := page.Spec{
		Scenario: strings.Join(spec.ContainerHierarchyTexts, " "), Text: spec.LeafNodeText, State: page.Failed,
		Started: spec.StartTime, Took: spec.RunTime, Failure: failure.Message, Output: spec.CapturedGinkgoWriterOutput,
	}
	switch {
	case spec.State.Is(types.SpecStatePassed):
		shown.State = page.Passed
	case spec.State.Is(types.SpecStateSkipped | types.SpecStatePending):
		shown.State = page.Skipped
	default:
		shown.Where = fromHere(failure.Location)
		shown.Again = againSpec(seed, spec.FullText())
	}
	if last, there := s.history[spec.FullText()]; there {
		shown.Last = &last
	}
	lab, there, err := entry[labFacts](spec, labEntry)
	if err != nil {
		return shown, err
	}
	if there {
		text, _, _ := strings.Cut(lab.Text, "\n")
		shown.Lab = &page.Drawing{Topology: lab.Topology, Notes: lab.Notes, Text: text}
	}
	took, there, err := entry[phases](spec, phasesEntry)
	if err != nil {
		return shown, err
	}
	if there {
		shown.Phases = page.PhasesOf(took, spec.RunTime)
	}
	windows, _, err := entry[closedWindows](spec, windowsEntry)
	if err != nil {
		return shown, err
	}
	shown.Windows = windows
	folder, there, err := entry[string](spec, evidenceEntry)
	if err != nil {
		return shown, err
	}
	if there {
		shown.Evidence, err = filesBelow(s.reports, folder)
	}
	for _, e := range spec.SpecEvents {
		if e.SpecEventType.Is(types.SpecEventByStart) {
			shown.Steps = append(shown.Steps, page.Step{Text: e.Message, At: e.TimelineLocation.Time.Sub(spec.StartTime)})
		}
	}
	return shown, err
}

// filesBelow lists a folder's files by their paths from base.
func filesBelow(base, folder string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // it could not be made
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		path, err = filepath.Rel(base, path)
		files = append(files, filepath.ToSlash(path))
		return err
	})
	slices.Sort(files)
	return files, err
}

// readHistory reads what became of each spec in the last runs.
func readHistory(reports string) (page.History, error) {
	return page.ReadHistory(filepath.Join(reports, "history.json"))
}

// revision is what this checkout is, "" if nobody knows.
func revision() string {
	said, err := exec.Command("git", "describe", "--always", "--dirty", "--tags").Output() //nolint:noctx // it is soon over
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(said))
}

// runFacts are what a person asks first of a run.
func (s *suite) runFacts(report ginkgo.Report, ranOn string) []page.Fact {
	c := report.SuiteConfig
	facts := []page.Fact{
		{Name: "Ran on", Value: ranOn},
		{Name: "Again", Value: againRun(c)},
		{Name: "Processes", Value: fmt.Sprint(c.ParallelTotal)},
	}
	if r := revision(); r != "" {
		facts = append(facts, page.Fact{Name: "Revision", Value: r})
	}
	if len(c.FocusStrings) > 0 {
		facts = append(facts, page.Fact{Name: "Focus", Value: strings.Join(c.FocusStrings, ", ")})
	}
	if c.LabelFilter != "" {
		facts = append(facts, page.Fact{Name: "Labels", Value: c.LabelFilter})
	}
	if demux := os.Getenv("DEMUX"); demux != "" {
		facts = append(facts, page.Fact{Name: "Program under test", Value: demux})
	}
	if table := s.engineTable(report); table != "" {
		facts = append(facts, page.Fact{Name: "Engines", Value: table})
	}
	return append(facts, page.Fact{Name: "Time of all specs by phase", Value: s.sumPhases(report)})
}
