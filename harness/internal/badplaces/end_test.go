package badplaces

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness/internal/images"
)

// moments are points in a suite's life: the call to the engine that they begin with, and how many of its kind there were before.
func moments() map[string]moment {
	return map[string]moment{
		"images are compiled":     {call: "GET /containers/json", compiles: true}, // the sweep that comes before
		"a container is made":     {call: "POST /containers/create"},
		"containers start":        {call: "/start", before: 2},
		"the lab is tried out":    {call: "/wait", before: 2},
		"a spec's lab starts":     {call: "POST /containers/create", before: 3},
		"a spec's lab is running": {call: `^GET /containers/[0-9a-f]{64}/json`, before: 6}, // the seventh, last container is inspected: it has been started
	}
}

type moment struct {
	call     string // a regular expression
	before   int
	compiles bool // the images' programs are not ready-made
}

// await runs the suite as far as the moment.
func (m moment) await(t *testing.T, p *proxy) *run {
	t.Helper()
	g := NewWithT(t)
	r := newRun(t, "unix://"+p.socket)
	if m.compiles {
		r.Env = slices.DeleteFunc(r.Env, func(entry string) bool { return strings.HasPrefix(entry, images.Folder+"=") })
	}
	g.Expect(r.Start()).To(Succeed())
	for range m.before + 1 {
		g.Eventually(p.calls).WithTimeout(time.Minute).Should(Receive(MatchRegexp(m.call)), r.output.String)
	}
	return r
}

func TestInterruptedAtAnyMoment(t *testing.T) {
	for name, m := range moments() {
		t.Run(name, func(t *testing.T) { endsBy(t, m, syscall.SIGINT) })
	}
}

func TestTerminated(t *testing.T) { endsBy(t, moments()["a spec's lab is running"], syscall.SIGTERM) }

func endsBy(t *testing.T, m moment, signal syscall.Signal) {
	g := NewWithT(t)
	p := newProxy(t, rules{})
	r := m.await(t, p)
	g.Expect(r.Process.Signal(signal)).To(Succeed())
	signalled := time.Now()
	r.expectOneComplaint(g)
	g.Expect(time.Since(signalled)).To(BeNumerically("<", 30*time.Second), "a busy machine included; mostly it takes one")
	g.Expect(r.output.String()).To(ContainSubstring("interrupted by signal (" + signal.String() + ")"))
	g.Expect(p.left(t.Context())).To(BeEmpty())
}

// A process that is killed can clean nothing up: its containers end by themselves.
func TestKilled(t *testing.T) {
	g := NewWithT(t)
	p := newProxy(t, rules{})
	r := moments()["a spec's lab is running"].await(t, p)
	g.Expect(p.left(t.Context())).NotTo(BeEmpty())
	g.Expect(r.Process.Kill()).To(Succeed())
	g.Expect(r.Wait()).NotTo(Succeed())
	g.Eventually(func() ([]string, error) { return p.left(t.Context()) }).
		WithTimeout(10 * time.Second).WithPolling(20 * time.Millisecond).Should(BeEmpty())
}
