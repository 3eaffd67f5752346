package e2e

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
)

// fail ends the node as Ginkgo's Fail does.
func (s *suite) fail(message string, skip ...int) {
	above := 1
	if len(skip) > 0 {
		above += skip[0]
	}
	s.interruption.fail(s.explain(message, above), above)
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
	return fmt.Sprintf("%s\n\nat %s\nevidence: %s\nagain: %s", strings.TrimRight(message, "\n"),
		fromHere(types.NewCodeLocation(skip+1)), shown(s.evidence(spec.FullText())), again(ginkgo.GinkgoRandomSeed(), spec.FullText()))
}

// evidence is the folder of a spec.
func (s *suite) evidence(text string) string { return filepath.Join(s.reports, "evidence", slug(text)) }

// shown is a path as people type it who are in the module's root.
func shown(path string) string {
	root, err := filepath.Abs("..")
	if err != nil {
		return path
	}
	if short, err := filepath.Rel(root, path); err == nil && filepath.IsLocal(short) {
		return short
	}
	return path
}

// fromHere is a line of code as people look it up: scenarios/fault.go:98.
func fromHere(at types.CodeLocation) string {
	return fmt.Sprintf("%s:%d", shown(at.FileName), at.LineNumber)
}

// repeated are the variables that decide what a run does, beside FOCUS and SEED.
var repeated = []string{"ENGINES", "DOCKER_HOST", "DEMUX", "CAPTURES", "FULL", "VLANDEMUX_SWITCH", "VLANDEMUX_AXES", "SERVERS_IMAGE"}

// again is the command that runs one spec once more, with what it drew the last time.
func again(seed int64, text string) string {
	words := []string{"make e2e", fmt.Sprintf("SEED=%d", seed)}
	if kernel := os.Getenv("VLANDEMUX_KERNEL"); kernel != "" { // of the virtual machine that this runs in
		words = append(words, "KERNEL="+quote(kernel))
	}
	for _, name := range repeated {
		if value := os.Getenv(name); value != "" {
			words = append(words, name+"="+quote(value))
		}
	}
	return strings.Join(append(words, "FOCUS="+quote(regexp.QuoteMeta(text))), " ")
}

var plainWord = regexp.MustCompile(`^[a-zA-Z0-9_./:,@%+=-]+$`)

// quote makes one word of a shell's command line.
func quote(text string) string {
	if plainWord.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

var (
	kernelsReason = regexp.MustCompile(`dropped by the kernel at .*`)
	whereNumbers  = regexp.MustCompile(`0x[0-9a-f]+`)
)

// cause is a failure in one line, with the kernel's reason where there is one.
func cause(failure types.Failure) string {
	const most = 200
	message, _, _ := strings.Cut(failure.Message, "\n\nat ")
	lines := strings.FieldsFunc(message, func(r rune) bool { return r == '\n' })
	text := ""
	for _, line := range lines { // "Expected", and what follows, is one sentence of Gomega's
		text = strings.TrimSpace(text + " " + strings.TrimSpace(line))
		if len(text) > 60 {
			break
		}
	}
	text = whereNumbers.ReplaceAllString(strings.Join(strings.Fields(text), " "), "…")
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	if reason := kernelsReason.FindString(message); reason != "" && !strings.Contains(text, reason) {
		text += "; " + reason
	}
	return cmp.Or(text, "no message")
}

// failedSpecs is a line of cause for each failed spec; those of one cause are told together.
func (s *suite) failedSpecs(report ginkgo.Report) string {
	specs := map[string][]types.SpecReport{}
	var causes []string
	for _, spec := range report.SpecReports {
		if !spec.Failed() {
			continue
		}
		why := fmt.Sprintf("%s (%s)", cause(spec.Failure), fromHere(spec.Failure.Location))
		if specs[why] == nil {
			causes = append(causes, why)
		}
		specs[why] = append(specs[why], spec)
	}
	var text strings.Builder
	for _, why := range causes {
		fmt.Fprintf(&text, "%d: %s\n", len(specs[why]), why)
		for _, spec := range specs[why] {
			fmt.Fprintf(&text, "   %s\n", cmp.Or(spec.FullText(), spec.LeafNodeType.String()))
			if evidence, there, err := entry[string](&spec, evidenceEntry); err == nil && there {
				fmt.Fprintf(&text, "     %s\n", shown(evidence))
			}
		}
	}
	return strings.TrimRight(text.String(), "\n")
}

// annotations are what GitHub shows beside the lines of a change, in its own format; "" outside of its Actions.
func annotations(report ginkgo.Report) string {
	if os.Getenv("GITHUB_ACTIONS") != "true" {
		return ""
	}
	data := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	var lines []string
	for _, spec := range report.SpecReports {
		if spec.Failed() {
			at := spec.Failure.Location
			lines = append(lines, fmt.Sprintf("::error file=%s,line=%d,title=%s::%s", property.Replace(shown(at.FileName)), at.LineNumber,
				property.Replace(cmp.Or(spec.FullText(), spec.LeafNodeType.String())), data.Replace(cause(spec.Failure))))
		}
	}
	return strings.Join(slices.Compact(lines), "\n")
}
