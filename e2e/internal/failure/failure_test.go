package failure_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/onsi/ginkgo/v2/types"

	"github.com/vlandemux/vlandemux/e2e/internal/failure"
)

const root = "/src"

func at(file string, line int) types.CodeLocation {
	return types.CodeLocation{FileName: file, LineNumber: line}
}

func TestAPanicIsToldWithItsLine(t *testing.T) {
	g := NewWithT(t)
	where := at("/usr/local/go/src/runtime/panic.go", 336)
	where.FullStackTrace = "main.f(0x1)\n\t/usr/local/go/src/slices/x.go:3 +0x58\nmain.g()\n\t/src/harness/lab.go:24 +0x58\nmain.h()\n\t/src/scenarios/pool.go:7 +0x1"
	f := failure.Of(&types.SpecReport{Failure: types.Failure{Message: "Test Panicked", Location: where, ForwardedPanic: "index out of range"}}, root)
	g.Expect(failure.Cause(f.Message)).To(Equal("panic: index out of range"))
	g.Expect(failure.Line(root, f.Location)).To(Equal("scenarios/pool.go:7"))
	g.Expect(f.Message).To(ContainSubstring("main.g()"))
}

func TestASpecWhoseTimeIsOverIsToldWithWhatItDid(t *testing.T) {
	g := NewWithT(t)
	spec := types.SpecReport{Failure: types.Failure{
		Message: "A spec timeout occurred", Location: at("/src/e2e/spec_test.go", 48),
		ProgressReport: types.ProgressReport{
			CurrentNodeType: types.NodeTypeIt, CurrentStepText: "c0 moves",
			Goroutines: []types.Goroutine{{IsSpecGoroutine: true, Stack: []types.FunctionCall{
				{Filename: "/go/x.go", Line: 1}, {Filename: "/src/harness/window.go", Line: 2}, {Filename: "/src/scenarios/mac_move.go", Line: 3},
			}}},
		},
	}}
	f := failure.Of(&spec, root)
	g.Expect(failure.Cause(f.Message)).To(Equal(`A spec timeout occurred in the step "c0 moves"`))
	g.Expect(failure.Line(root, f.Location)).To(Equal("scenarios/mac_move.go:3"))

	spec.Failure.AdditionalFailure = &types.AdditionalFailure{Failure: types.Failure{
		Message:  "A spec timeout occurred and then the following failure was recorded in the timedout node before it exited:\nsending frames: no answer\n\nat scenarios/mac_move.go:4",
		Location: at("/src/scenarios/mac_move.go", 4),
	}}
	spec.AdditionalFailures = []types.AdditionalFailure{{Failure: types.Failure{Message: "a link is left", FailureNodeType: types.NodeTypeCleanupAfterEach}}}
	f = failure.Of(&spec, root)
	g.Expect(failure.Cause(f.Message)).To(Equal(`A spec timeout occurred in the step "c0 moves": sending frames: no answer`))
	g.Expect(failure.Line(root, f.Location)).To(Equal("scenarios/mac_move.go:4"))
	g.Expect(f.Message).To(HaveSuffix("and then, in DeferCleanup (Each): a link is left"))
}

func TestWhatIsToldTwiceIsReadOnce(t *testing.T) {
	g := NewWithT(t)
	f := failure.Of(&types.SpecReport{Failure: types.Failure{
		Message: "Interrupted by Other Ginkgo Process", Location: at("/src/e2e/spec_test.go", 48),
		AdditionalFailure: &types.AdditionalFailure{Failure: types.Failure{
			Message:  "An interrupt occurred and then the following failure was recorded in the interrupted node before it exited:\nInterrupted by Other Ginkgo Process\n\nat scenarios/arp.go:4",
			Location: at("/src/scenarios/arp.go", 4),
		}},
	}}, root)
	g.Expect(failure.Cause(f.Message)).To(Equal("Interrupted by Other Ginkgo Process"))
	g.Expect(failure.Line(root, f.Location)).To(Equal("scenarios/arp.go:4"))
}

func TestACauseIsOneLine(t *testing.T) {
	for message, want := range map[string]string{
		"": "no message",
		"Expected\n    <int>: 1\nto equal\n    2": "Expected <int>: 1 to equal 2",
		"in the window opened at scenarios/arp.go:111: 3 of 20 frames are wrong\n20 frames\n\n  w0  ← missing: dropped by the kernel at host/w0: reason DEV_READY in f": "" +
			"in the window opened at scenarios/arp.go:111: 3 of 20 frames are wrong; dropped by the kernel at host/w0: reason DEV_READY in f",
		"it is wrong\n\nat scenarios/arp.go:3\nevidence: x": "it is wrong",
	} {
		NewWithT(t).Expect(failure.Cause(message)).To(Equal(want))
	}
}
