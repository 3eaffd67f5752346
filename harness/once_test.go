package harness_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness"
	"github.com/vlandemux/vlandemux/harness/internal/engine"
)

// A lab whose containers nobody uses again ends them all, and tells what it has left in its host all the same.
func TestALabForOnceEndsItsContainers(t *testing.T) {
	g := NewWithT(t)
	ctx := t.Context()
	h, err := harness.Connect(ctx, harness.Options{Once: true})
	g.Expect(err).NotTo(HaveOccurred())
	e, err := engine.Connect(ctx, "")
	g.Expect(err).NotTo(HaveOccurred())
	var names []string
	start := func() *harness.Lab {
		lab, err := h.Start(ctx, pair(), 0)
		g.Expect(err).NotTo(HaveOccurred())
		for _, n := range lab.Nodes() {
			names = append(names, n.Container)
		}
		g.Expect(e.Leftovers(ctx, harness.RunLabel)).To(ContainElements(names[len(names)-3:]))
		return lab
	}
	lab := start()
	g.Expect(lab.Close()).To(Succeed())
	g.Expect(e.Leftovers(ctx, harness.RunLabel)).NotTo(ContainElement(BeElementOf(names)))
	lab = start()
	const other = "/sys/fs/bpf/other"
	go lab.Exec(ctx, "host", "/vlandemux", "run", "--bpffs="+other, "--socket=/run/other.sock", "--trunk=nothing") //nolint:errcheck // it ends with the lab
	g.Eventually(func() (int, error) {
		_, status, err := lab.Exec(ctx, "host", "/vlandemux", "status", "--socket=/run/other.sock")
		return status, err
	}, "1m").Should(BeZero())
	g.Expect(lab.Close()).To(MatchError(And(ContainSubstring("the lab left in container"), ContainSubstring("pin "+other))))
	g.Expect(e.Leftovers(ctx, harness.RunLabel)).NotTo(ContainElement(BeElementOf(names)))
	g.Expect(e.Close()).To(Succeed())
	g.Expect(h.Close()).To(Succeed())
}
