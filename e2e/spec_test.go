package e2e

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/harness"
	"github.com/vlandemux/vlandemux/scenarios"
)

// specTimeout bounds one spec, lab included; most take two seconds.
const specTimeout = 2 * time.Minute

// describe makes a spec of each case of a scenario at each point of its axes.
func (s *suite) describe(scenario scenarios.Scenario) {
	ginkgo.Describe(scenario.Name, ginkgo.Label(scenario.Labels...), func() {
		for _, c := range scenario.Cases {
			families := c.Families
			if len(families) == 0 {
				families = []scenarios.Family{scenarios.IPv4}
			}
			for _, attach := range []demux.AttachMode{demux.AttachTCX, demux.AttachClsact} {
				for _, family := range families {
					axes := []string{string(attach)}
					if len(c.Families) > 0 {
						axes = append(axes, string(family))
					}
					text := fmt.Sprintf("%s [%s]", c.Text, strings.Join(axes, ", "))
					variant := scenarios.Variant{Attach: attach, Family: family}
					ginkgo.It(text, ginkgo.Label(axes...), ginkgo.SpecTimeout(specTimeout), func(ctx ginkgo.SpecContext) {
						s.run(ctx, c, variant)
					})
				}
			}
		}
	})
}

// run is one spec: a lab of its own, the case, and the proof that nothing is left.
func (s *suite) run(ctx ginkgo.SpecContext, c scenarios.Case, variant scenarios.Variant) {
	text := ginkgo.CurrentSpecReport().FullText()
	variant.Seed = harness.NewSeed(ginkgo.GinkgoRandomSeed(), text)
	ginkgo.GinkgoWriter.Printf("seed %s\n", variant.Seed)
	topology := c.Topology(variant)
	bound, release := s.bound(ctx)
	defer release()
	lab, err := s.harness.Start(bound, topology, variant.Seed)
	s.check(err)
	ginkgo.DeferCleanup(func(ctx context.Context) { s.end(ctx, lab, text) })
	ginkgo.AddReportEntry("lab", lab.String(), ginkgo.ReportEntryVisibilityFailureOrVerbose)
	ginkgo.GinkgoWriter.Println(lab)
	c.Run(bound, &scenarios.Run{
		Gomega:   gomega.NewGomega(s.fail),
		Variant:  variant,
		Lab:      lab,
		Fail:     s.fail,
		Out:      ginkgo.GinkgoWriter,
		Step:     func(text string) { ginkgo.By(text) },
		Captures: s.frames,
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
		ginkgo.AddReportEntry("evidence", folder)
	}
	complaints := lab.KernelComplaints(ctx)
	s.check(errors.Join(complaints, lab.Close()))
}

var notInFileNames = regexp.MustCompile(`[^a-zA-Z0-9]+`)

// slug makes a file name of a spec's text.
func slug(text string) string {
	return strings.Trim(notInFileNames.ReplaceAllString(text, "-"), "-")
}
