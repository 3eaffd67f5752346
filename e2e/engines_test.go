package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/harness"
)

// engines are the Docker engines that the suite runs on. Ginkgo's process k works with the engine k mod n, and Ginkgo's own queue hands out the specs.
type engines struct {
	addresses []string
	versions  []harness.EngineVersion // by address; empty where this process has not asked
	asked     error                   // why one did not answer that was asked
	taking    *os.File                // locked, shared, by each process that takes specs; nil before prepare or connect
	lost      error                   // why the engine of this process is gone; nil while it is there
}

// findEngines asks this process's engine what it is. The first process asks all of them, in prepare: they have one kernel. Where they need not, each
// process has to know what all can, and asks one after the other, its own first: over ssh each is a login, and sshd refuses the eleventh at a time.
func findEngines(ctx context.Context) (*engines, error) {
	addresses, err := harness.EnginesFromEnvironment(ctx)
	if err != nil {
		return nil, err
	}
	e := &engines{addresses: addresses, versions: make([]harness.EngineVersion, len(addresses))}
	ask := 1
	if harness.MixedEngines() {
		ask = len(addresses)
	}
	for i := range ask {
		k := (e.own() + i) % len(addresses)
		version, err := harness.AskEngines(ctx, addresses[k:k+1])
		e.versions[k], e.asked = version[0], errors.Join(e.asked, err)
	}
	return e, nil
}

// spread sees that each engine has a process, and that Ginkgo minds the priorities: it does where it shuffles all specs.
func (e *engines) spread(config *types.SuiteConfig) error {
	n := len(e.addresses)
	if n > config.ParallelTotal {
		return fmt.Errorf("ENGINES names %d engines, and Ginkgo runs %d process: give it %d or more (ginkgo --procs=%d, make e2e PROCS=%d), or name one engine",
			n, config.ParallelTotal, n, 4*n, 4*n)
	}
	config.RandomizeAllSpecs = config.RandomizeAllSpecs || n > 1
	return nil
}

// own is the number of this process's engine.
func (e *engines) own() int { return (ginkgo.GinkgoParallelProcess() - 1) % len(e.addresses) }

// kernels are those of the engines that were asked.
func (e *engines) kernels() []string {
	var kernels []string
	for _, v := range e.versions {
		if v.Kernel != "" {
			kernels = append(kernels, v.Kernel)
		}
	}
	return kernels
}

// prepared is what the first process tells every other.
type prepared struct {
	Images []harness.Images // by engine
	Taking string           // the file that processes which take specs have locked
}

// prepareEngines loads the images into every engine and tries out a lab on each, all at once. It leaves the connection to this process's own open.
func (s *suite) prepareEngines(ctx context.Context) prepared {
	var err error
	s.versions, err = harness.AskEngines(ctx, s.addresses)
	s.check(cmp.Or(err, s.asked))
	images, errs := make([]harness.Images, len(s.addresses)), make([]error, len(s.addresses))
	var ready sync.WaitGroup
	for i, address := range s.addresses {
		ready.Go(func() {
			h, err := harness.Connect(ctx, harness.Options{Engine: address, Guard: s.guard, Log: ginkgo.GinkgoWriter})
			if err != nil {
				errs[i] = err
				return
			}
			images[i] = h.Images()
			errs[i] = s.tryOut(ctx, h)
			if i == s.own() {
				s.harness = h
			} else {
				errs[i] = errors.Join(errs[i], h.Close())
			}
		})
	}
	ready.Wait()
	s.check(errors.Join(errs...))
	s.taking, err = os.CreateTemp("", "vlandemux-e2e-")
	s.check(err)
	s.check(os.Remove(s.taking.Name())) // it is there as long as this process
	return prepared{Images: images, Taking: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), s.taking.Fd())}
}

// takeSpecs says that this process takes specs.
func (e *engines) takeSpecs(path string) (err error) {
	if e.taking == nil { // the first process has it
		if e.taking, err = os.Open(path); err != nil {
			return err
		}
	}
	return unix.Flock(int(e.taking.Fd()), unix.LOCK_SH)
}

// takeNoMore says that there is no spec left to take.
func (e *engines) takeNoMore() error {
	if e.taking == nil {
		return nil
	}
	return e.taking.Close()
}

// engineEntry is the report entry of a spec whose engine was lost.
const engineEntry = "lost engine"

// watchEngine runs after each spec. When one has failed and its engine does not answer any more, the spec is lost with it, and this process takes no
// further spec while another process does: it would fail them all and leave nothing for the others. Those that are left in the end never ran.
func (s *suite) watchEngine(ctx ginkgo.SpecContext, report ginkgo.SpecReport) {
	if s.lost != nil || !report.Failed() {
		return
	}
	if s.lost = s.harness.Alive(ctx); s.lost == nil {
		return
	}
	ginkgo.AddReportEntry(engineEntry, s.name(s.own()))
	others := make(chan error, 1)
	go func() { others <- unix.Flock(int(s.taking.Fd()), unix.LOCK_EX) }()
	select {
	case err := <-others:
		s.check(err)
		s.check(unix.Flock(int(s.taking.Fd()), unix.LOCK_SH))
	case <-ctx.Done():
	case <-s.ctx.Done():
	}
}

// skipWithoutEngine ends a spec for which there is no engine left.
func (s *suite) skipWithoutEngine() {
	if s.lost != nil {
		ginkgo.Skip("never ran, since no engine is left to run it on: " + s.lost.Error())
	}
}

// name is how the reports name an engine.
func (e *engines) name(i int) string {
	if e.addresses[i] == "" {
		return "Docker " + e.versions[i].Engine
	}
	return fmt.Sprintf("Docker %s at %s", e.versions[i].Engine, e.addresses[i])
}

// engineTable says what each engine has run, and what was lost.
func (s *suite) engineTable(report ginkgo.Report) string {
	type row struct {
		specs int
		took  time.Duration
		lost  []string
	}
	rows := make([]row, len(s.addresses))
	var never []string
	for _, spec := range report.SpecReports {
		if spec.LeafNodeType != types.NodeTypeIt {
			continue
		}
		if spec.State.Is(types.SpecStateSkipped) && spec.Failure.Message != "" {
			never = append(never, spec.FullText())
			continue
		}
		if spec.State.Is(types.SpecStateSkipped | types.SpecStatePending) {
			continue
		}
		r := &rows[(spec.ParallelProcess-1)%len(rows)]
		r.specs++
		r.took += spec.RunTime
		if slices.ContainsFunc(spec.ReportEntries, func(e types.ReportEntry) bool { return e.Name == engineEntry }) {
			r.lost = append(r.lost, spec.FullText())
		}
	}
	if len(rows) == 1 && len(rows[0].lost)+len(never) == 0 {
		return ""
	}
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "specs\tseconds\t  engine")
	for i, r := range rows {
		fmt.Fprintf(table, "%d\t%.1f\t  %s, kernel %s\n", r.specs, r.took.Seconds(), s.name(i), s.versions[i].Kernel)
	}
	_ = table.Flush() // a Builder takes everything
	for i, r := range rows {
		for _, spec := range r.lost {
			fmt.Fprintf(&text, "lost with its engine, %s: %s\n", s.name(i), spec)
		}
	}
	for _, spec := range never {
		fmt.Fprintf(&text, "never ran: %s\n", spec)
	}
	return strings.TrimRight(text.String(), "\n")
}

// priorities are those of specs whose time in the last run is known: the longest come first, in a few buckets, when
// there are several engines. On one alone, specs keep their order: two of the heaviest side by side take more than twice as long as one.
func (s *suite) priorities() map[string]ginkgo.SpecPriority {
	if len(s.addresses) == 1 {
		return nil
	}
	var longest time.Duration
	took := map[string]time.Duration{}
	for text := range s.history {
		if t, known := s.history.Took(text); known {
			took[text] = t
			longest = max(longest, t)
		}
	}
	priorities := map[string]ginkgo.SpecPriority{}
	for text, t := range took {
		priorities[text] = ginkgo.SpecPriority(4 * t / (longest + 1))
	}
	return priorities
}
