package e2e

import (
	"cmp"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"

	"github.com/vlandemux/vlandemux/e2e/internal/failure"
)

// fail ends the node as Ginkgo's Fail does.
func (s *suite) fail(message string, skip ...int) {
	s.interruption.fail(s.explain(message, above(skip)), above(skip))
}

func (s *suite) check(err error) {
	if err != nil {
		s.fail(err.Error(), 1)
	}
}

// explain puts behind a failure's message where it happened, where its evidence goes and how to run the spec again.
func (s *suite) explain(message string, skip int) string {
	spec := ginkgo.CurrentSpecReport()
	if spec.LeafNodeType != types.NodeTypeIt {
		return message
	}
	message = fmt.Sprintf("%s\n\nat %s", strings.TrimRight(message, "\n"), fromHere(types.NewCodeLocation(skip+1)))
	if _, there, _ := entry[labFacts](&spec, labEntry); there { // without a lab there is no evidence
		message += "\nevidence: " + shown(s.evidence(spec.FullText()))
	}
	return message + "\nagain: " + againSpec(ginkgo.GinkgoRandomSeed(), spec.FullText())
}

// evidence is the folder of a spec. Where another's text differs in signs alone, or after what is kept of it, a checksum tells them apart.
func (s *suite) evidence(text string) string {
	name := slug(text)
	if slices.ContainsFunc(s.specs, func(other string) bool { return other != text && slug(other) == name }) {
		name = fmt.Sprintf("%s-%08x", name, crc32.ChecksumIEEE([]byte(text)))
	}
	return filepath.Join(s.reports, "evidence", name)
}

// moduleRoot is the folder above the one that Go runs the suite in.
func moduleRoot() string {
	root, err := filepath.Abs("..")
	if err != nil {
		return ".."
	}
	return root
}

// shown is a path as people type it who are in the module's root.
func shown(path string) string { return failure.Shown(moduleRoot(), path) }

// fromHere is a line of code as people look it up.
func fromHere(at types.CodeLocation) string { return failure.Line(moduleRoot(), at) }

// repeated are the variables that decide what a run does, beside FOCUS and SEED.
var repeated = []string{"ENGINES", "ENGINES_MIXED", "ENGINE_OF_NODE", "DOCKER_HOST", "DOCKER_CONTEXT", "DEMUX", "CAPTURES", "FULL", "VLANDEMUX_SWITCH", "VLANDEMUX_AXES", "SERVERS_IMAGE"}

// againSpec is the command that runs one spec once more, with what it drew the last time. It is one line, whatever the spec is called.
func againSpec(seed int64, text string) string {
	return again(seed, regexp.MustCompile(`[\n\r\t]`).ReplaceAllString(regexp.QuoteMeta(text), `\s`))
}

// again is the command that runs what a FOCUS matches once more.
func again(seed int64, focus ...string) string {
	words := []string{"make e2e", fmt.Sprintf("SEED=%d", seed)}
	if kernel := os.Getenv("VLANDEMUX_KERNEL"); kernel != "" { // of the virtual machine that this runs in
		words = append(words, "KERNEL="+quote(kernel))
	}
	for _, name := range repeated {
		if value := os.Getenv(name); value != "" {
			words = append(words, name+"="+quote(value))
		}
	}
	if len(focus) > 0 {
		words = append(words, "FOCUS="+quote(strings.Join(focus, "|")))
	}
	return strings.Join(words, " ")
}

// againRun is the command that runs once more what a run has run.
func againRun(c types.SuiteConfig) string {
	var args []string
	if c.LabelFilter != "" {
		args = append(args, quote("--label-filter="+c.LabelFilter))
	}
	for _, skip := range c.SkipStrings {
		args = append(args, quote("--skip="+skip))
	}
	command := again(c.RandomSeed, c.FocusStrings...)
	if len(args) > 0 {
		command += " GINKGO_ARGS=" + quote(strings.Join(args, " "))
	}
	return command
}

var plainWord = regexp.MustCompile(`^[a-zA-Z0-9_./:,@%+=-]+$`)

// quote makes one word of a shell's command line.
func quote(text string) string {
	if plainWord.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// failureOf is a spec's failure, see [failure.Of].
func failureOf(spec *types.SpecReport) types.Failure { return failure.Of(spec, moduleRoot()) }

// failed tells whether a spec, or a node of the suite, has failed by itself: what every other process says when the first could not prepare is left out.
func failed(spec *types.SpecReport) bool {
	return spec.Failed() && !strings.HasPrefix(spec.Failure.Message, "SynchronizedBeforeSuite failed on Ginkgo parallel process #1")
}

// failedSpecs is a line of cause for each failed spec; those of one cause are told together. A failed node of the suite is left out:
// Ginkgo has told of it already.
func (s *suite) failedSpecs(report ginkgo.Report) string {
	specs := map[string][]types.SpecReport{}
	var causes []string
	for _, spec := range report.SpecReports {
		if !spec.Failed() || spec.LeafNodeType != types.NodeTypeIt {
			continue
		}
		f := failureOf(&spec)
		why := fmt.Sprintf("%s (%s)", failure.Cause(f.Message), fromHere(f.Location))
		if specs[why] == nil {
			causes = append(causes, why)
		}
		specs[why] = append(specs[why], spec)
	}
	var text strings.Builder
	for _, why := range causes {
		fmt.Fprintf(&text, "%d: %s\n", len(specs[why]), why)
		for _, spec := range specs[why] {
			fmt.Fprintf(&text, "   %s\n", spec.FullText())
			if evidence, there, err := entry[string](&spec, evidenceEntry); err == nil && there {
				fmt.Fprintf(&text, "     %s\n", shown(evidence))
			}
		}
	}
	return strings.TrimRight(text.String(), "\n")
}

// annotations are what GitHub shows beside the lines of a change; "" outside of its Actions.
func annotations(report ginkgo.Report) string {
	var lines []string
	for _, spec := range report.SpecReports {
		if failed(&spec) {
			lines = append(lines, failure.Annotation(moduleRoot(), cmp.Or(spec.FullText(), spec.LeafNodeType.String()), failureOf(&spec)))
		}
	}
	return strings.TrimRight(strings.Join(slices.Compact(lines), ""), "\n")
}
