package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"

	"github.com/vlandemux/vlandemux/scenarios"
)

// progress tells the program that started the suite (e2e/progress) what runs; nil tells nobody.
type progress struct {
	events  *os.File // of all processes: one line an event, each written at once
	journal *os.File // of this one: a line when a spec starts and when it ends, as the report has it; if the process crashes, what the runtime says
}

func openProgress() (*progress, error) {
	folder := os.Getenv("VLANDEMUX_PROGRESS")
	if folder == "" {
		return nil, nil
	}
	config, _ := ginkgo.GinkgoConfiguration()
	var p progress
	for name, file := range map[string]**os.File{"events": &p.events, fmt.Sprintf("process-%d", config.ParallelProcess): &p.journal} {
		var err error
		if *file, err = os.OpenFile(filepath.Join(folder, name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err != nil {
			return nil, fmt.Errorf("VLANDEMUX_PROGRESS: %w", err)
		}
	}
	return &p, debug.SetCrashOutput(p.journal, debug.CrashOptions{})
}

func (p *progress) tell(event string, values ...any) {
	if p == nil {
		return
	}
	line := event
	for _, v := range values {
		line += "\t" + strings.Join(strings.Fields(fmt.Sprint(v)), " ")
	}
	_, _ = p.events.WriteString(line + "\n") // nobody's spec fails of it
}

// note is for the report of a suite one of whose processes dies: nothing else is left of what it ran.
func (s *suite) note(report *ginkgo.SpecReport, ended bool) {
	if s.progress == nil {
		return
	}
	spec, _ := s.pageSpec(report, ginkgo.GinkgoRandomSeed())
	if !ended {
		spec.State, spec.Where, spec.Started = "", "", time.Now()
	}
	line, _ := json.Marshal(spec)
	_, _ = s.progress.journal.Write(append(line, '\n')) // nobody's spec fails of it
}

// plan tells how many specs will run, in how many processes, and how long each took in the last run. That none will is a failure.
func (s *suite) plan(report ginkgo.Report) {
	if report.PreRunStats.SpecsThatWillRun == 0 {
		var names []string
		for _, scenario := range scenarios.All() {
			names = append(names, scenario.Name)
		}
		ginkgo.Fail(fmt.Sprintf("none of the %d specs is asked for by FOCUS, SHARD and other filters. Scenarios to choose from: %s. "+
			"To list all specs: make e2e PROCS=1 GINKGO_ARGS='--dry-run -v'", report.PreRunStats.TotalSpecs, strings.Join(names, ", ")))
	}
	s.progress.tell("run", report.PreRunStats.SpecsThatWillRun, report.SuiteConfig.ParallelTotal)
	for _, text := range s.specs {
		if t, known := s.history.Took(text); known && focused(report.SuiteConfig, report.SuiteDescription+" "+text) {
			s.progress.tell("last", t.Seconds(), text)
		}
	}
}

// focused tells whether a spec is one of those that were asked for by --focus and --skip. Labels are not looked at: the plan
// is scaled to the number of specs.
func focused(c types.SuiteConfig, text string) bool {
	matches := func(patterns []string) bool {
		found, err := regexp.MatchString(strings.Join(patterns, "|"), text)
		return err == nil && found
	}
	return (len(c.FocusStrings) == 0 || matches(c.FocusStrings)) && (len(c.SkipStrings) == 0 || !matches(c.SkipStrings))
}

func (s *suite) tellStart(report ginkgo.SpecReport) {
	if !report.State.Is(types.SpecStateSkipped | types.SpecStatePending) {
		s.note(&report, false)
		s.progress.tell("start", report.FullText())
	}
}

func (s *suite) tellEnd(report ginkgo.SpecReport) {
	if report.Failed() && !strings.Contains(failureOf(&report).Message, "\nagain: ") { // a panic, or a spec whose time was over
		ginkgo.AddReportEntry("again", againSpec(ginkgo.GinkgoRandomSeed(), report.FullText()))
	}
	if !report.State.Is(types.SpecStateSkipped | types.SpecStatePending) {
		s.note(&report, true)
		s.progress.tell("end", report.State, report.FullText())
	}
}
