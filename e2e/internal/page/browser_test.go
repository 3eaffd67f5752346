package page_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/performance"
	"github.com/chromedp/chromedp"
	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/e2e/internal/page"
	"github.com/vlandemux/vlandemux/harness"
)

// browser starts the browser that is installed.
func browser(t testing.TB) context.Context {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		// In CI the tests may run as root, or where user namespaces are not allowed.
		options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(path), chromedp.NoSandbox)
		ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
		t.Cleanup(cancel)
		ctx, cancel = chromedp.NewContext(ctx)
		t.Cleanup(cancel)
		return ctx
	}
	t.Skip("no browser is installed: apt install chromium")
	return nil
}

// eval evaluates an expression on the page.
func eval[T any](g *WithT, ctx context.Context, expression string) T {
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	g.ExpectWithOffset(1, err).NotTo(HaveOccurred(), expression)
	return value
}

// broken is what a run reported when the demux had been broken on purpose, to send some copies of group frames twice.
func broken(g *WithT) (drawing *page.Drawing, window harness.ClosedWindow) {
	data, err := os.ReadFile("testdata/wrong.json")
	g.Expect(err).NotTo(HaveOccurred())
	var kept struct {
		page.Drawing
		Window harness.ClosedWindow
	}
	g.Expect(json.Unmarshal(data, &kept)).To(Succeed())
	return &kept.Drawing, kept.Window
}

// example is a run with n specs, the third of which failed.
func example(g *WithT, n int) *page.Run {
	lab, wrong := broken(g)
	wrong.Verdict.Paths[0].Hops[0].Tags = []string{"802.1Q vid 7 + 802.1Q vid 8 + 802.1ad vid 9 + 802.1Q vid 10"}
	wrong.Verdict.WrongFrames[0].Alike = 3
	run := &page.Run{
		Title: "vlandemux end to end", Started: time.Date(2026, 11, 26, 9, 0, 0, 0, time.UTC), Took: time.Minute,
		Facts: []page.Fact{{Name: "Ran on", Value: "kernel 6.18 <b>&"}},
		Bench: &page.Bench{SVG: []byte(`<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"/>`), Rows: []page.BenchRow{{Name: "tcp", Variant: "vlandemux", Median: 1}}},
	}
	for i := range n {
		s := page.Spec{
			Scenario: fmt.Sprintf("scenario %d", i/10), Text: fmt.Sprintf("case %d <i>", i), State: page.Passed, Started: run.Started, Took: time.Duration(i%7+1) * time.Second,
			Lab: lab, Output: "written", Steps: []page.Step{{Text: "a step", At: time.Second}},
			Last: &page.Outcome{State: page.Passed, Seconds: []float64{float64(i%7 + 1)}},
		}
		s.Phases = page.PhasesOf(map[string]float64{"containers": 0.3, "ledger": 0.2}, s.Took)
		right := *wrong.Verdict
		right.Wrong, right.WrongFrames, right.Sides, right.Counters = 0, nil, nil, nil
		s.Windows = []harness.ClosedWindow{{Opened: "scenarios/x.go:7", Verdict: &right}}
		switch i {
		case 1:
			s.State, s.Lab, s.Windows, s.Phases = page.Skipped, nil, nil, nil
		case 2:
			s.State, s.Failure, s.Where, s.Again = page.Failed, wrong.Verdict.Err().Error(), "scenarios/x.go:9", "make e2e SEED=1"
			s.Windows, s.Evidence = []harness.ClosedWindow{wrong}, []string{"evidence/a/lab.txt"}
		case 3:
			s.Last.Seconds = []float64{0.5}
		case 4:
			s.Last = nil
		}
		run.Specs = append(run.Specs, s)
	}
	return run
}

// open writes a run's page and opens it.
func open(g *WithT, ctx context.Context, folder string, run *page.Run) (path string) {
	path = filepath.Join(folder, "report.html")
	g.Expect(os.MkdirAll(filepath.Join(folder, "evidence", "a"), 0o755)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(folder, "evidence", "a", "lab.txt"), nil, 0o644)).To(Succeed())
	g.Expect(page.Write(path, run)).To(Succeed())
	g.Expect(chromedp.Do(ctx, chromedp.Navigate("file://"+path))).To(Succeed())
	return path
}

func TestThePageInABrowser(t *testing.T) {
	g := NewWithT(t)
	ctx := browser(t)
	g.Expect(chromedp.Do(ctx, chromedp.EmulateViewport(1600, 1200), chromedp.Navigate("about:blank"))).To(Succeed())
	listening, stop := context.WithCancel(ctx)
	defer stop()
	console := chromedp.Console(listening)
	path := open(g, ctx, t.TempDir(), example(g, 30))

	t.Run("every link leads somewhere", func(t *testing.T) {
		g := NewWithT(t)
		links := eval[[]string](g, ctx, `[...document.querySelectorAll('a')].map(a => a.getAttribute('href'))`)
		g.Expect(len(links)).To(BeNumerically(">", 30))
		for _, link := range links {
			if anchor, ours := strings.CutPrefix(link, "#"); ours {
				g.Expect(eval[bool](g, ctx, `!!document.getElementById("`+anchor+`")`)).To(BeTrue(), link)
			} else {
				g.Expect(filepath.Join(filepath.Dir(path), link)).To(BeARegularFile())
			}
		}
		g.Expect(chromedp.Do(ctx, chromedp.Click(chromedp.CSS(`table.specs a[href="#s7"]`)))).To(Succeed())
		g.Eventually(func() bool {
			return eval[bool](g, ctx, `document.getElementById('s7').open && document.activeElement.parentNode.id === 's7'`)
		}).WithTimeout(time.Minute).Should(BeTrue())
	})
	t.Run("a wrong frame is found by its tap and time", func(t *testing.T) {
		g := NewWithT(t)
		_, window := broken(g)
		frame := window.Verdict.WrongFrames[0]
		i := slices.IndexFunc(frame.Hops, func(h harness.TracedHop) bool { return h.Fault != "" })
		hop := frame.Hops[i]
		at := time.Unix(0, hop.Time).UTC().Format("15:04:05.000000")
		rows := eval[[]string](g, ctx, `[...document.querySelectorAll('#s2 .frame tr.wrong')].filter(r => r.checkVisibility()).map(r => r.innerText)`)
		g.Expect(rows).To(ContainElement(And(HavePrefix(hop.Tap+"\t"), ContainSubstring("\t"+at+"\t"), HaveSuffix(hop.Fault))))
		red := eval[string](g, ctx, `getComputedStyle(document.querySelector('#s2 .frame tr.wrong td')).color`)
		g.Expect(red).To(Equal("rgb(177, 18, 31)"))
		heads := eval[[]string](g, ctx, `[...document.querySelectorAll('#s2 .frame h5')].map(h => h.innerText)`)
		g.Expect(heads[0]).To(MatchRegexp(`^Wrong frame 1 of .* \(and 2 more in the same way\): `))
		g.Expect(heads[1]).To(HavePrefix("Wrong frame 4 of "))
	})
	t.Run("a long stack of tags is told by its outer ones", func(t *testing.T) {
		g := NewWithT(t)
		cells := eval[[]string](g, ctx, `[...document.querySelectorAll('#s2 table.ladder td.tap')].map(c => c.innerText)`)
		g.Expect(cells).To(ContainElement(ContainSubstring("802.1Q 7 + 802.1Q 8 + 2 more")))
	})
	t.Run("a spec that is the only one is open", func(t *testing.T) {
		g := NewWithT(t)
		run := example(g, 1)
		open(g, ctx, t.TempDir(), run)
		g.Expect(eval[bool](g, ctx, `document.getElementById('s0').open`)).To(BeTrue())
		g.Expect(chromedp.Do(ctx, chromedp.Navigate("file://"+path))).To(Succeed())
		g.Expect(eval[bool](g, ctx, `document.getElementById('s0').open`)).To(BeFalse())
	})
	t.Run("every filter shows its specs", func(t *testing.T) {
		g := NewWithT(t)
		for filter, shown := range map[string]int{"run": 29, "failed": 1, "passed": 28, "skipped": 1, "changed": 3, "all": 30} {
			g.Expect(chromedp.Do(ctx, chromedp.Click(chromedp.CSS(`input[value="`+filter+`"]`)))).To(Succeed())
			g.Expect(eval[int](g, ctx, `document.querySelectorAll('table.specs tbody tr:not([hidden])').length`)).To(Equal(shown), filter)
			g.Expect(eval[int](g, ctx, `document.querySelectorAll('details.spec:not([hidden])').length`)).To(Equal(shown), filter)
			g.Expect(eval[string](g, ctx, `shown.textContent`)).To(Equal(fmt.Sprintf("%d of 30 specs", shown)))
		}
		g.Expect(chromedp.Do(ctx, chromedp.Click(chromedp.CSS(`input[value="all"]`)))).To(Succeed()) // whichever was the last
		g.Expect(chromedp.Do(ctx, chromedp.SendKeys(chromedp.CSS("#words"), "CASE scenario 29"))).To(Succeed())
		g.Expect(eval[string](g, ctx, `shown.textContent`)).To(Equal("1 of 30 specs"))
		eval[bool](g, ctx, `words.value = '', filter.dispatchEvent(new Event('input'))`)
	})
	t.Run("a column's head sorts", func(t *testing.T) {
		g := NewWithT(t)
		seconds := `[...document.querySelectorAll('table.specs td:nth-of-type(3)')].map(c => Number(c.dataset.sort))`
		head := chromedp.Click(chromedp.CSS("table.specs th:nth-of-type(4) button"))
		g.Expect(chromedp.Do(ctx, head)).To(Succeed())
		sorted := eval[[]float64](g, ctx, seconds)
		g.Expect(slices.IsSorted(sorted)).To(BeTrue(), "%v", sorted)
		g.Expect(chromedp.Do(ctx, head)).To(Succeed())
		g.Expect(eval[[]float64](g, ctx, seconds)[0]).To(Equal(7.0))
		g.Expect(eval[string](g, ctx, `document.querySelector('th[aria-sort]').textContent`)).To(Equal("Seconds"))
	})
	t.Run("it is as wide as a telephone, in both themes", func(t *testing.T) {
		g := NewWithT(t)
		g.Expect(chromedp.Do(ctx, chromedp.EmulateViewport(360, 800))).To(Succeed())
		var papers []string
		for _, theme := range []string{"light", "dark"} {
			_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}},
			})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(eval[int](g, ctx, `document.documentElement.scrollWidth`)).To(Equal(360))
			papers = append(papers, eval[string](g, ctx, `getComputedStyle(document.documentElement).backgroundColor`))
		}
		g.Expect(papers[0]).NotTo(Equal(papers[1]))
	})
	t.Run("a keyboard reaches it", func(t *testing.T) {
		g := NewWithT(t)
		g.Expect(chromedp.Do(ctx, chromedp.Navigate("about:blank"), chromedp.Navigate("file://"+path), chromedp.KeyEvent("\t"))).To(Succeed())
		g.Expect(eval[string](g, ctx, `document.activeElement.textContent`)).To(Equal("Skip to the specs"))
		g.Expect(eval[string](g, ctx, `getComputedStyle(document.activeElement).outlineStyle`)).To(Equal("solid"))
		g.Expect(chromedp.Do(ctx, chromedp.KeyEvent("/"))).To(Succeed())
		g.Expect(eval[string](g, ctx, `document.activeElement.id`)).To(Equal("words"))
	})
	stop()
	for message, err := range console {
		if err != nil {
			break
		}
		t.Errorf("the page wrote to the console: %s", message)
	}
}

// A browser that has to read every spec in full takes many seconds, so what nobody has opened is packed: a spec has a row of six
// cells and a closed summary, whatever its lab and its windows hold.
func TestAThousandSpecsArePacked(t *testing.T) {
	g := NewWithT(t)
	ctx := browser(t)
	open(g, ctx, t.TempDir(), example(g, 1000))
	elements := eval[int](g, ctx, `document.querySelectorAll('#s900, #s900 *, table.specs tbody tr:nth-child(901), table.specs tbody tr:nth-child(901) *').length`)
	g.Expect(elements).To(BeNumerically("<=", 17))
	g.Expect(eval[string](g, ctx, `shown.textContent`)).To(Equal("999 of 1000 specs"))
	g.Expect(chromedp.Do(ctx, chromedp.Click(chromedp.CSS(`table.specs a[href="#s900"]`)))).To(Succeed())
	g.Eventually(func() bool {
		return eval[bool](g, ctx, `!!document.querySelector('#s900 table.ladder')?.checkVisibility()`)
	}).WithTimeout(time.Minute).Should(BeTrue(), "what was packed is there")
}

// The figure is the time of the page's thread on a processor, from asking for the page until it is loaded.
func BenchmarkAThousandSpecsOpen(b *testing.B) {
	g := NewWithT(b)
	ctx := browser(b)
	open(g, ctx, b.TempDir(), example(g, 1000))
	_, err := chromedp.Call(ctx, performance.Enable, performance.EnableParams{})
	g.Expect(err).NotTo(HaveOccurred())
	var took float64
	for b.Loop() {
		g.Expect(chromedp.Do(ctx, chromedp.Reload())).To(Succeed())
		got, err := chromedp.Call(ctx, performance.GetMetrics, cdp.Empty{})
		g.Expect(err).NotTo(HaveOccurred())
		i := slices.IndexFunc(got.Metrics, func(m *performance.Metric) bool { return m.Name == "ThreadTime" })
		g.Expect(i).To(BeNumerically(">=", 0), "%v", got.Metrics)
		took += got.Metrics[i].Value
	}
	b.ReportMetric(took/float64(b.N), "cpu-s/page")
}
