package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"

	"github.com/vlandemux/vlandemux/e2e/internal/page"
	"github.com/vlandemux/vlandemux/harness"
)

// labEntry is the report entry of each spec that says what its lab was like.
const labEntry = "lab"

// labFacts are the facts about a lab that the run's report sums up.
type labFacts struct {
	Kernel, Switch, Attach string
	Text                   string // for people
	Topology               harness.Topology
	Notes                  map[string]string // of its nodes
}

func (f labFacts) String() string { return f.Text }

// reportLab puts into a spec's report what it runs on.
func reportLab(lab *harness.Lab) {
	ginkgo.AddReportEntry(labEntry, labFacts{
		Kernel: lab.Features.Kernel, Switch: string(lab.Switch()), Attach: lab.Attach, Text: lab.String() + "\n" + lab.Inputs(),
		Topology: lab.Topology, Notes: page.NotesOf(lab),
	}, ginkgo.ReportEntryVisibilityFailureOrVerbose)
}

// phasesEntry is the report entry of each spec that says how long the parts of its lab took.
const phasesEntry = "phases"

// phases are seconds by name of the phase.
type phases map[string]float64

func (p phases) String() string {
	var text []string
	for _, name := range harness.PhaseNames() {
		text = append(text, fmt.Sprintf("%s %.2f", name, p[name]))
	}
	return strings.Join(text, " · ") + " s"
}

func reportPhases(lab *harness.Lab) {
	took := phases{}
	for _, phase := range lab.Phases() {
		took[phase.Name] += phase.Took.Seconds()
	}
	ginkgo.AddReportEntry(phasesEntry, took, ginkgo.ReportEntryVisibilityFailureOrVerbose)
}

// sumPhases adds up all specs; the rest of their time is the scenarios' own traffic.
func (s *suite) sumPhases(report ginkgo.Report) string {
	sum, rest := phases{}, 0.0
	for _, spec := range report.SpecReports {
		took, there, err := entry[phases](&spec, phasesEntry)
		s.check(err)
		if !there {
			continue
		}
		rest += spec.RunTime.Seconds()
		for _, name := range harness.PhaseNames() {
			sum[name] += took[name]
			rest -= took[name]
		}
	}
	return fmt.Sprintf("%v, traffic and the rest %.2f s", sum, rest)
}

// reportRun prints one line on what the specs have run on, which is in the JUnit
// and JSON reports too. It names what was there, not what was asked for.
func (s *suite) reportRun(report ginkgo.Report) {
	if report.SuiteConfig.DryRun {
		return // the last run's report and times are worth more
	}
	var kernels, switches, attachModes []string
	for _, spec := range report.SpecReports {
		facts, there, err := entry[labFacts](&spec, labEntry)
		s.check(err)
		if there {
			kernels, switches, attachModes = append(kernels, facts.Kernel), append(switches, facts.Switch), append(attachModes, facts.Attach)
		}
	}
	var dockers []string
	for _, v := range s.versions {
		dockers = append(dockers, v.Engine)
	}
	machine := "no VM"
	if kernel := os.Getenv("VLANDEMUX_VM_KERNEL"); kernel != "" {
		machine = fmt.Sprintf("VM of %s with %s", kernel, strings.ToUpper(os.Getenv("VLANDEMUX_VM_ACCEL")))
	}
	if len(s.skipped) > 0 {
		ginkgo.AddReportEntry("not replayed", fmt.Sprintf("%s holds files whose names do not end in .pcap, .pcapng or .cap (and .gz): %s", s.captures, strings.Join(s.skipped, ", ")))
	}
	if program := os.Getenv("DEMUX"); program != "" {
		ginkgo.AddReportEntry("program under test", program)
	}
	if pairsOnly() {
		ginkgo.AddReportEntry("axes", "pairs: each scenario ran on each switch and in each attach mode, not on each switch in each mode")
	}
	ranOn := "no lab has started"
	if len(kernels) > 0 {
		ranOn = fmt.Sprintf("kernel %s · switch %s · attach %s · Docker %s · %s",
			set(kernels), set(switches), set(attachModes), set(dockers), machine)
		ginkgo.AddReportEntry("scenarios", scenarioTable(report))
		ginkgo.AddReportEntry("time of all specs by phase", s.sumPhases(report))
	}
	if table := s.engineTable(report); table != "" {
		ginkgo.AddReportEntry("engines", table)
	}
	ginkgo.AddReportEntry("ran on", ranOn)
	unwritten := s.writePage(s.runFacts(report, ranOn), report) // told last: the rest is wanted all the more then
	if failed := s.failedSpecs(report); failed != "" {
		ginkgo.AddReportEntry("failed", failed)
	}
	if lines := annotations(report); lines != "" {
		ginkgo.AddReportEntry("annotations", "\n"+lines)
	}
	s.check(unwritten)
	ginkgo.AddReportEntry("to look at", filepath.Join(s.reports, "report.html"))
}

// scenarioTable is how many specs of each scenario ran and passed, and how long they took together.
func scenarioTable(report ginkgo.Report) string {
	type row struct {
		ran, passed int
		took        time.Duration
	}
	rows := map[string]*row{}
	var names []string
	for _, spec := range report.SpecReports {
		if spec.LeafNodeType != types.NodeTypeIt || spec.State.Is(types.SpecStateSkipped|types.SpecStatePending) {
			continue
		}
		name := spec.ContainerHierarchyTexts[0]
		if rows[name] == nil {
			rows[name] = &row{}
			names = append(names, name)
		}
		r := rows[name]
		r.ran++
		r.took += spec.RunTime
		if spec.State == types.SpecStatePassed {
			r.passed++
		}
	}
	slices.Sort(names)
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "specs\tpassed\tseconds\t  scenario")
	for _, name := range names {
		r := rows[name]
		fmt.Fprintf(table, "%d\t%d\t%.1f\t  %s\n", r.ran, r.passed, r.took.Seconds(), name)
	}
	table.Flush() //nolint:errcheck // a Builder takes everything
	return strings.TrimRight(text.String(), "\n")
}

// set lists texts, each once.
func set(texts []string) string {
	return strings.Join(slices.Compact(slices.Sorted(slices.Values(texts))), ", ")
}
