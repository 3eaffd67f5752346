package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness"
	"github.com/vlandemux/vlandemux/scenarios"
)

// describe makes a spec of each case of a scenario at each point of its axes: of every case at its first point, then of every case at its second,
// and so on. Specs that run side by side are neighbours, and two of the heaviest case would take more than twice as long as one.
func (s *suite) describe(scenario scenarios.Scenario) {
	ginkgo.Describe(scenario.Name, ginkgo.Label(scenario.Labels...), func() {
		for i, more := 0, true; more; i++ {
			more = false
			for _, c := range scenario.Cases {
				if c.Servers && os.Getenv("SERVERS_IMAGE") == "" {
					continue
				}
				if points := s.points(c); i < len(points) {
					more = true
					s.specify(c, points[i])
				}
			}
		}
	})
}

// specText is a spec's own text, below its scenario's.
func specText(c scenarios.Case, p point) string {
	return fmt.Sprintf("%s [%s]", c.Text, strings.Join(p.labels, ", "))
}

// specify makes one spec.
func (s *suite) specify(c scenarios.Case, p point) {
	text := specText(c, p)
	full := ginkgo.CurrentTreeConstructionNodeReport().FullText() + " " + text
	s.specs = append(s.specs, full)
	ginkgo.It(text, s.first[full], s.shards[full], ginkgo.Label(p.labels...), ginkgo.Label(c.Labels...), s.limit(), func(ctx ginkgo.SpecContext) {
		s.run(ctx, c, p.Variant)
	})
}

// run is one spec: a lab of its own, the case, and the proof that nothing is left.
func (s *suite) run(ctx ginkgo.SpecContext, c scenarios.Case, variant scenarios.Variant) {
	s.skipWithoutEngine()
	text := ginkgo.CurrentSpecReport().FullText()
	variant.Seed = harness.NewSeed(ginkgo.GinkgoRandomSeed(), text)
	ginkgo.GinkgoWriter.Printf("seed %s\n", variant.Seed)
	variant.Captures, variant.Images, variant.ServersImage = s.frames, s.harness.Images(), os.Getenv("SERVERS_IMAGE")
	topology := c.Topology(variant)
	bound, release := s.bound(ctx)
	defer release()
	fail := func(message string, skip ...int) {
		defer release() // where another goroutine has failed, the case's own waits no longer
		s.fail(message, above(skip))
	}
	lab, err := s.harness.Start(bound, topology, variant.Seed)
	s.check(err)
	ginkgo.DeferCleanup(func(ctx context.Context) { s.end(ctx, lab) })
	reportLab(lab)
	c.Run(bound, &scenarios.Run{
		Gomega:  gomega.NewGomega(fail),
		Variant: variant,
		Lab:     lab,
		Fail:    fail,
		Out:     ginkgo.GinkgoWriter,
		Brief:   !verbose(),
		Step:    func(text string) { ginkgo.By(text) },
	})
}

// end closes the lab. A failed spec leaves its evidence first, and a lab that
// leaves anything behind, or that made the kernel complain, fails the spec.
func (s *suite) end(ctx context.Context, lab *harness.Lab) {
	err := lab.KernelComplaints(ctx)
	spec := ginkgo.CurrentSpecReport()
	if !spec.Failed() { // a window that is open because of a failure is closed by what saves the evidence, which the ledger's verdict is part of
		err = errors.Join(err, lab.CheckClosed())
	}
	if (spec.Failed() || err != nil || os.Getenv("EVIDENCE") == "always") && s.ctx.Err() == nil {
		s.saveEvidence(ctx, lab, spec, err)
	}
	if s.keepUp(lab, spec, err) {
		err = errors.Join(err, lab.Abandon())
	} else {
		err = errors.Join(err, lab.Close())
	}
	reportPhases(lab)
	reportWindows(lab)
	s.check(err)
}

// saveEvidence fills the spec's folder, and goes on where something cannot be had.
func (s *suite) saveEvidence(ctx context.Context, lab *harness.Lab, spec ginkgo.SpecReport, late error) {
	folder := s.evidence(spec.FullText())
	account := harness.Account{
		Spec: spec.FullText(), Failure: failureOf(&spec).Message, Again: againSpec(ginkgo.GinkgoRandomSeed(), spec.FullText()), Revision: revision(),
	}
	if late != nil {
		account.Failure = strings.TrimSpace(account.Failure + "\n" + late.Error())
	}
	for _, event := range spec.SpecEvents {
		if event.SpecEventType.Is(types.SpecEventByStart) {
			account.Steps = append(account.Steps, harness.TimelineEntry{Time: event.TimelineLocation.Time, Source: "step", Text: event.Message})
		}
	}
	if err := lab.SaveEvidence(ctx, folder, account); err != nil {
		ginkgo.GinkgoWriter.Println("some evidence could not be saved:", err)
	}
	ginkgo.AddReportEntry(evidenceEntry, folder)
}

// verbose tells whether people want to see all that is written.
func verbose() bool {
	_, reporter := ginkgo.GinkgoConfiguration()
	return reporter.Verbose || reporter.VeryVerbose
}

var notInFileNames = regexp.MustCompile(`[^a-zA-Z0-9]+`)

// slug makes a file name of a spec's text, no longer than file systems take.
func slug(text string) string {
	const most = 200
	name := strings.Trim(notInFileNames.ReplaceAllString(text, "-"), "-")
	return name[:min(len(name), most)]
}
