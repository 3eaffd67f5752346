// Package failure says why a spec failed: with what Ginkgo keeps beside a failure's message, and in one line.
package failure

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/onsi/ginkgo/v2/types"
)

// Shown is a path as people type it who are in the module's root.
func Shown(root, path string) string {
	if short, err := filepath.Rel(root, path); err == nil && filepath.IsLocal(short) {
		return short
	}
	return path
}

// Line is a line of code as people look it up: scenarios/fault.go:98.
func Line(root string, at types.CodeLocation) string {
	return fmt.Sprintf("%s:%d", Shown(root, at.FileName), at.LineNumber)
}

// Of is a spec's failure with what a panic said, where a spec was when its time was over, and what failed after that. The location is
// the innermost line of a scenario, if there is one. root is the module's.
func Of(spec *types.SpecReport, root string) types.Failure {
	f := spec.Failure
	if f.ForwardedPanic != "" {
		stack := f.Location.FullStackTrace
		var lines []types.CodeLocation
		for _, line := range stackLine.FindAllStringSubmatch(stack, -1) {
			number, _ := strconv.Atoi(line[2])
			lines = append(lines, types.CodeLocation{FileName: line[1], LineNumber: number})
		}
		f.Location = ours(root, lines, f.Location)
		f.Message = fmt.Sprintf("panic: %s\n\nat %s\n%s", f.ForwardedPanic, Line(root, f.Location), stack)
	}
	if report := f.ProgressReport; !report.IsZero() { // its time is over
		var lines []types.CodeLocation
		for _, call := range report.SpecGoroutine().Stack {
			lines = append(lines, types.CodeLocation{FileName: call.Filename, LineNumber: call.Line})
		}
		f.Location = ours(root, lines, f.Location)
		if report.CurrentStepText != "" {
			f.Message += fmt.Sprintf(" in the step %q", report.CurrentStepText)
		}
	}
	if late := f.AdditionalFailure; late != nil {
		_, message, _ := strings.Cut(late.Failure.Message, "before it exited:\n")
		message = cmp.Or(message, late.Failure.Message)
		if !strings.HasPrefix(message, f.Message) { // what was told already, such as that all are interrupted
			message = f.Message + ": " + message
		}
		f.Message, f.Location = message, late.Failure.Location
	}
	for _, after := range spec.AdditionalFailures {
		f.Message += fmt.Sprintf("\n\nand then, in %s: %s", after.Failure.FailureNodeType, cmp.Or(after.Failure.ForwardedPanic, after.Failure.Message))
	}
	return f
}

var stackLine = regexp.MustCompile(`(?m)^\s+(\S+\.go):(\d+)`)

// ours is the innermost line of a stack that is a scenario's, else of this module, else other.
func ours(root string, stack []types.CodeLocation, other types.CodeLocation) types.CodeLocation {
	for _, below := range []string{filepath.Join(root, "scenarios"), root} {
		for _, line := range stack {
			if Shown(below, line.FileName) != line.FileName {
				return line
			}
		}
	}
	return other
}

// Annotation is what GitHub shows of a spec's failure beside the line of a change, in its own format; "" outside of its Actions.
func Annotation(root, spec string, f types.Failure) string {
	if os.Getenv("GITHUB_ACTIONS") != "true" {
		return ""
	}
	data := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	return fmt.Sprintf("::error file=%s,line=%d,title=%s::%s\n",
		property.Replace(Shown(root, f.Location.FileName)), f.Location.LineNumber, property.Replace(spec), data.Replace(Cause(f.Message)))
}

var (
	kernelsReason = regexp.MustCompile(`dropped by the kernel at .*`)
	whereNumbers  = regexp.MustCompile(`0x[0-9a-f]+`)
	behind        = regexp.MustCompile(`\n\n(at|and then, in) `)
)

// Cause is a failure's message in one line, with the kernel's reason where there is one.
func Cause(message string) string {
	const most = 200
	message = behind.Split(message, 2)[0]
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
