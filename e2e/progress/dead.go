package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2/types"

	"github.com/vlandemux/vlandemux/e2e/internal/failure"
	"github.com/vlandemux/vlandemux/e2e/internal/page"
)

// tellDead looks for processes of the suite that have died: those that have not ended a spec, or have crashed. Where there is one, Ginkgo makes
// no report, and knows neither the spec nor why. This tells both, and writes the report of what all processes have noted in their journals.
func tellDead(folder string, begun time.Time, out io.Writer) (died bool, err error) {
	journals, err := filepath.Glob(filepath.Join(folder, "process-*"))
	if err != nil {
		return false, err
	}
	root, err := os.Getwd()
	if err != nil {
		return false, err
	}
	run := &page.Run{Title: "vlandemux end to end", Started: begun, Took: time.Since(begun)}
	for _, path := range journals {
		data, err := os.ReadFile(path)
		if err != nil {
			return died, err
		}
		specs, crash := readJournal(data)
		running := slices.IndexFunc(specs, func(s page.Spec) bool { return s.State == "" })
		if crash != "" && running < 0 {
			running = len(specs)
			specs = append(specs, page.Spec{Scenario: "the suite", Text: "outside of its specs", Started: begun})
		}
		if running >= 0 {
			died = true
			fmt.Fprint(out, dead(&specs[running], crash, root))
		}
		run.Specs = append(run.Specs, specs...)
	}
	if !died {
		return false, nil
	}
	run.Facts = []page.Fact{{Name: "Cut short", Value: "a process of the suite has died: these are the specs that had started"}}
	reports := cmp.Or(os.Getenv("VLANDEMUX_REPORTS"), "reports")
	if err := page.Write(filepath.Join(reports, "report.html"), run); err != nil {
		return true, err
	}
	fmt.Fprintf(out, "to look at: %s\n", filepath.Join(reports, "report.html"))
	history, err := page.ReadHistory(filepath.Join(reports, "history.json"))
	if err != nil {
		return true, err
	}
	history.Add(run)
	return true, history.Write(filepath.Join(reports, "history.json"))
}

// readJournal gives the specs that a process has noted, each as it was noted last, and what the runtime said when it crashed.
func readJournal(data []byte) (specs []page.Spec, crash string) {
	at := map[string]int{}
	for line := range bytes.Lines(data) {
		var spec page.Spec
		if crash != "" || json.Unmarshal(line, &spec) != nil {
			crash += string(line)
			continue
		}
		i, there := at[spec.Name()]
		if !there {
			i = len(specs)
			at[spec.Name()] = i
			specs = append(specs, page.Spec{})
		}
		specs[i] = spec
	}
	return specs, crash
}

// dead makes a failure of a spec that its process has not ended, and tells people of it.
func dead(spec *page.Spec, crash, root string) string {
	f := types.Failure{Message: "its process has ended before it did: by os.Exit, by a second Ctrl-C, or by a signal, such as the one that the kernel sends when memory is used up (dmesg)"}
	if crash != "" {
		why, stack, _ := strings.Cut(strings.TrimPrefix(crash, "panic: "), "\n")
		f = failure.Of(&types.SpecReport{Failure: types.Failure{ForwardedPanic: why, Location: types.CodeLocation{FullStackTrace: strings.TrimSpace(stack)}}}, root)
		spec.Where = failure.Line(root, f.Location)
	}
	spec.State, spec.Failure, spec.Took = page.Failed, f.Message, time.Since(spec.Started)
	text := fmt.Sprintf("\nA process of the suite has died in the spec:\n  %s\n%s\n", spec.Name(), short(f.Message))
	if spec.Again != "" {
		text += "again: " + spec.Again + "\n"
	}
	return text + failure.Annotation(root, spec.Name(), f)
}

// short keeps the beginning of a long text; the report has it all.
func short(text string) string {
	const most = 40
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) > most {
		lines = append(lines[:most], fmt.Sprintf("… %d lines more", len(lines)-most))
	}
	return strings.Join(lines, "\n")
}
