package linux_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/bpf/linux"
)

func TestFeaturesGoByVersion(t *testing.T) {
	g := NewWithT(t)
	for release, want := range map[string]bool{
		"6.6.0": true, "6.12.117+deb12-amd64": true, "7.0-rc1": true, "linux": true, "": true,
		"6.5.13": false, "6.1.0-56-amd64": false, "5.15.0-139-generic": false,
	} {
		g.Expect(linux.TCX.In(release)).To(Equal(want), release)
	}
	g.Expect(linux.PacketUDPSuper.In("6.2.0")).To(BeTrue())
	g.Expect(linux.TCX.String()).To(Equal("TCX (since Linux 6.6)"))
}
