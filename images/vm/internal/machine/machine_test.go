package machine

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/images/vm/internal/protocol"
)

// fakeRoot makes a root file system with modules loaded and, if asked for, a device which may be opened.
func fakeRoot(t *testing.T, device bool, modules ...string) string {
	t.Helper()
	g := NewWithT(t)
	root := t.TempDir()
	for _, module := range modules {
		g.Expect(os.MkdirAll(filepath.Join(root, "sys/module", module), 0o755)).To(Succeed())
	}
	if device {
		g.Expect(os.Mkdir(filepath.Join(root, "dev"), 0o755)).To(Succeed())
		g.Expect(os.WriteFile(filepath.Join(root, "dev/kvm"), nil, 0o600)).To(Succeed())
	}
	return root
}

func TestAcceleration(t *testing.T) {
	for name, test := range map[string]struct {
		root   string
		name   string
		reason string
	}{
		"Intel":                {fakeRoot(t, true, "kvm", "kvm_intel"), "kvm", "kvm_intel"},
		"AMD":                  {fakeRoot(t, true, "kvm", "kvm_amd"), "kvm", "kvm_amd"},
		"another hypervisor's": {fakeRoot(t, true, "kvm", "kvm_pvm"), "tcg", "kvm_pvm does not run stock kernels"},
		"no device":            {fakeRoot(t, false, "kvm", "kvm_intel"), "tcg", "no such file"},
		"nothing":              {fakeRoot(t, false), "tcg", "no KVM"},
		"device without owner": {fakeRoot(t, true), "tcg", "no KVM"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			a := DetectAcceleration(test.root)
			g.Expect(a.Name).To(Equal(test.name))
			g.Expect(a.Reason).To(ContainSubstring(test.reason))
		})
	}
}

func TestTheHostsFilesAreReadOnlyButForShares(t *testing.T) {
	g := NewWithT(t)
	args := arguments(Options{Acceleration: Acceleration{Name: "tcg"}, Processors: 2, Memory: 512, Shares: []protocol.Share{{Tag: "share0", Path: "/a,b"}}})
	g.Expect(args).To(ContainElement(And(HavePrefix("local,id=root,path=/,"), ContainSubstring("readonly=on"))))
	g.Expect(args).To(ContainElement(And(HavePrefix("local,id=share0,path=/a,,b,"), Not(ContainSubstring("readonly")))))
}

func TestAMachineWithoutQEMU(t *testing.T) {
	g := NewWithT(t)
	t.Setenv("PATH", t.TempDir())
	_, err := Start(t.Context(), Options{})
	g.Expect(err).To(MatchError(ContainSubstring("install the package qemu-system-x86")))
}
