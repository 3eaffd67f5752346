package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/onsi/ginkgo/v2"
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
	ginkgo.It(text, s.first[full], s.shards[full], ginkgo.Label(p.labels...), ginkgo.Label(c.Labels...), ginkgo.SpecTimeout(specTimeout()), func(ctx ginkgo.SpecContext) {
		s.run(ctx, c, p.Variant)
	})
}

// run is one spec: a lab of its own, the case, and the proof that nothing is left.
func (s *suite) run(ctx ginkgo.SpecContext, c scenarios.Case, variant scenarios.Variant) {
	s.skipWithoutEngine()
	text := ginkgo.CurrentSpecReport().FullText()
	variant.Seed = harness.NewSeed(ginkgo.GinkgoRandomSeed(), text)
	ginkgo.GinkgoWriter.Printf("seed %s\n", variant.Seed)
	variant.Captures, variant.Images, variant.DHCPImage = s.frames, s.harness.Images(), os.Getenv("DHCP_IMAGE")
	topology := c.Topology(variant)
	bound, release := s.bound(ctx)
	defer release()
	lab, err := s.harness.Start(bound, topology, variant.Seed)
	s.check(err)
	ginkgo.DeferCleanup(func(ctx context.Context) { s.end(ctx, lab, text) })
	reportLab(lab)
	ginkgo.GinkgoWriter.Printf("%s\n%s", lab, lab.Inputs())
	c.Run(bound, &scenarios.Run{
		Gomega:  gomega.NewGomega(s.fail),
		Variant: variant,
		Lab:     lab,
		Fail:    s.fail,
		Out:     ginkgo.GinkgoWriter,
		Step:    func(text string) { ginkgo.By(text) },
	})
}

// end closes the lab. A failed spec leaves its evidence first, and a lab that
// leaves anything behind, or that made the kernel complain, fails the spec.
func (s *suite) end(ctx context.Context, lab *harness.Lab, text string) {
	if ginkgo.CurrentSpecReport().Failed() && s.ctx.Err() == nil {
		folder := filepath.Join(s.reports, "evidence", slug(text))
		if err := lab.SaveEvidence(ctx, folder); err != nil {
			ginkgo.GinkgoWriter.Println("some evidence could not be saved:", err)
		}
		ginkgo.AddReportEntry(evidenceEntry, folder)
	}
	complaints := lab.KernelComplaints(ctx)
	err := errors.Join(complaints, lab.Close())
	reportPhases(lab)
	reportWindows(lab)
	s.check(err)
}

var notInFileNames = regexp.MustCompile(`[^a-zA-Z0-9]+`)

// slug makes a file name of a spec's text.
func slug(text string) string {
	return strings.Trim(notInFileNames.ReplaceAllString(text, "-"), "-")
}
