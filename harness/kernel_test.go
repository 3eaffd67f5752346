package harness

import (
	"testing"

	"github.com/onsi/gomega"
)

func TestKernelAtLeast(t *testing.T) {
	g := gomega.NewWithT(t)
	for release, want := range map[string]bool{
		"6.6.0": true, "6.12.117+deb12-amd64": true, "7.0-rc1": true, "linux": true, "": true,
		"6.5.13": false, "6.1.0-56-amd64": false, "5.15.0-139-generic": false,
	} {
		g.Expect(KernelAtLeast(release, 6, 6)).To(gomega.Equal(want), release)
	}
}
