package e2e

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/onsi/ginkgo/v2"

	"github.com/vlandemux/vlandemux/harness"
)

// labEntry is the report entry of each spec that says what its lab was like.
const labEntry = "lab"

// labFacts are the facts about a lab that the run's report sums up.
type labFacts struct {
	Kernel, Switch, Attach string
	Text                   string // for people
}

func (f labFacts) String() string { return f.Text }

// reportLab puts into a spec's report what it runs on.
func reportLab(lab *harness.Lab) {
	ginkgo.AddReportEntry(labEntry, labFacts{
		Kernel: lab.Features.Kernel, Switch: string(lab.Switch()), Attach: lab.Attach, Text: lab.String(),
	}, ginkgo.ReportEntryVisibilityFailureOrVerbose)
}

// reportRun prints one line on what the specs have run on, which is in the JUnit
// and JSON reports too. It names what was there, not what was asked for.
func (s *suite) reportRun(report ginkgo.Report) {
	var kernels, switches, attachModes []string
	for _, spec := range report.SpecReports {
		for _, entry := range spec.ReportEntries {
			if entry.Name != labEntry {
				continue
			}
			facts, ours := entry.GetRawValue().(labFacts)
			if !ours { // of another Ginkgo process
				s.check(json.Unmarshal([]byte(entry.Value.AsJSON), &facts))
			}
			kernels, switches, attachModes = append(kernels, facts.Kernel), append(switches, facts.Switch), append(attachModes, facts.Attach)
		}
	}
	if len(kernels) == 0 {
		return // no lab has started
	}
	machine := "no VM"
	if kernel := os.Getenv("VLANDEMUX_VM_KERNEL"); kernel != "" {
		machine = fmt.Sprintf("VM of %s with %s", kernel, strings.ToUpper(os.Getenv("VLANDEMUX_VM_ACCEL")))
	}
	ginkgo.AddReportEntry("ran on", fmt.Sprintf("kernel %s · switch %s · attach %s · Docker %s · %s",
		set(kernels), set(switches), set(attachModes), cmp.Or(s.engine.Engine, "unknown"), machine))
}

// set lists texts, each once.
func set(texts []string) string {
	return strings.Join(slices.Compact(slices.Sorted(slices.Values(texts))), ", ")
}
