package e2e

import (
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"

	"github.com/vlandemux/vlandemux/scenarios"
)

// progress tells the program that started the suite (e2e/progress) what runs. It is one line an event, each written
// at once, into a file that all processes append to; nil tells nobody.
type progress struct{ file *os.File }

func openProgress() (*progress, error) {
	path := os.Getenv("VLANDEMUX_PROGRESS")
	if path == "" {
		return nil, nil
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("VLANDEMUX_PROGRESS: %w", err)
	}
	return &progress{file}, nil
}

func (p *progress) tell(event string, values ...any) {
	if p == nil {
		return
	}
	line := event
	for _, v := range values {
		line += "\t" + strings.Join(strings.Fields(fmt.Sprint(v)), " ")
	}
	_, _ = p.file.WriteString(line + "\n") // nobody's spec fails of it
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
		s.progress.tell("start", report.FullText())
	}
}

func (s *suite) tellEnd(report ginkgo.SpecReport) {
	if !report.State.Is(types.SpecStateSkipped | types.SpecStatePending) {
		s.progress.tell("end", report.State, report.FullText())
	}
}
