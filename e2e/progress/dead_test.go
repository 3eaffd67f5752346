package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/e2e/internal/page"
)

// journals writes what processes have noted: each value is a spec or what the runtime has said.
func journals(g *WithT, folder string, processes ...[]any) {
	for i, notes := range processes {
		var text bytes.Buffer
		for _, note := range notes {
			if crash, ok := note.(string); ok {
				text.WriteString(crash)
				continue
			}
			g.Expect(json.NewEncoder(&text).Encode(note)).To(Succeed())
		}
		g.Expect(os.WriteFile(filepath.Join(folder, "process-"+string(rune('1'+i))), text.Bytes(), 0o600)).To(Succeed())
	}
}

func TestASpecWhoseProcessHasDiedIsToldAndReported(t *testing.T) {
	g := NewWithT(t)
	folder, reports := t.TempDir(), t.TempDir()
	t.Setenv("VLANDEMUX_REPORTS", reports)
	t.Setenv("GITHUB_ACTIONS", "true")
	root, err := os.Getwd()
	g.Expect(err).NotTo(HaveOccurred())
	started := func(text string) page.Spec {
		return page.Spec{Scenario: "pool", Text: text, Started: time.Now(), Again: "make e2e SEED=7 FOCUS='" + text + "'"}
	}
	passed := started("is right")
	passed.State = page.Passed
	journals(g, folder,
		[]any{started("is right"), passed, started("panics"), "panic: nil map\n\ngoroutine 7 [running]:\nmain.f()\n\t" + root + "/pool.go:23 +0x1\n{\n"},
		[]any{started("exits")},
		[]any{"fatal error: concurrent map writes\n"},
	)
	var out bytes.Buffer
	died, err := tellDead(folder, time.Now(), &out)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(died).To(BeTrue())
	g.Expect(out.String()).To(And(
		ContainSubstring("died in the spec:\n  pool panics\npanic: nil map\n\nat pool.go:23\n"), ContainSubstring("again: make e2e SEED=7 FOCUS='panics'\n"),
		ContainSubstring("::error file=pool.go,line=23,title=pool panics::panic: nil map\n"),
		ContainSubstring("pool exits\nits process has ended before it did"), ContainSubstring("the suite outside of its specs\npanic: fatal error: concurrent map writes"),
		Not(ContainSubstring("is right")),
	))
	report, err := os.ReadFile(filepath.Join(reports, "report.html"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(report)).To(And(ContainSubstring("3 failed, 1 passed"), ContainSubstring("panic: nil map"), ContainSubstring("pool.go:23")))
	g.Expect(filepath.Join(reports, "history.json")).To(BeARegularFile())
}

func TestNothingIsToldOfProcessesThatHaveEndedTheirSpecs(t *testing.T) {
	g := NewWithT(t)
	folder, reports := t.TempDir(), t.TempDir()
	t.Setenv("VLANDEMUX_REPORTS", reports)
	ended := page.Spec{Scenario: "pool", Text: "fails", State: page.Failed}
	running := ended
	running.State = ""
	journals(g, folder, []any{running, ended, running, ended}, nil) // with --repeat, and a process that had no spec
	died, err := tellDead(folder, time.Now(), &bytes.Buffer{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(died).To(BeFalse())
	g.Expect(filepath.Join(reports, "report.html")).NotTo(BeAnExistingFile())
}
