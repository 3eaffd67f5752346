package main

import (
	"testing"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"
)

func TestOldKernelsAreNamed(t *testing.T) {
	for release, ok := range map[string]bool{
		"6.1.0-18-amd64": true, "6.18.44-fc-v669": true, "7.0": true, "10.0.1": true, "6.1-rc1": true, "odd": true, "": true, "x.y.z": true,
		"5.15.0-113-generic": false, "6.0.19": false, "4.19": false,
	} {
		g := NewWithT(t)
		if ok {
			g.Expect(checkRelease(release)).To(Succeed(), release)
		} else {
			g.Expect(checkRelease(release)).To(MatchError("kernel " + release + " is too old: vlandemux needs Linux 6.1 or newer"))
		}
	}
}

func TestMissingCapabilitiesAreNamed(t *testing.T) {
	with := func(have ...int) error {
		return missingCapabilities(func(c int) bool {
			for _, h := range have {
				if h == c {
					return true
				}
			}
			return false
		})
	}
	g := NewWithT(t)
	g.Expect(with(unix.CAP_NET_ADMIN, unix.CAP_BPF)).To(Succeed())
	g.Expect(with(unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN)).To(Succeed())
	g.Expect(with(unix.CAP_SYS_ADMIN)).To(MatchError(HavePrefix("this process lacks CAP_NET_ADMIN: run it as root (sudo) or")))
	g.Expect(with(unix.CAP_NET_ADMIN)).To(MatchError(HavePrefix("this process lacks CAP_BPF (or CAP_SYS_ADMIN): run")))
	g.Expect(with()).To(MatchError(HavePrefix("this process lacks CAP_NET_ADMIN and CAP_BPF (or CAP_SYS_ADMIN): run")))
}

func TestAPlainFolderIsNoPlaceForPins(t *testing.T) {
	g := NewWithT(t)
	g.Expect(checkBPFFS(t.TempDir() + "/a/b")).To(MatchError(And(
		ContainSubstring("/a/b is not in a BPF file system: mount one with `mount -t bpf bpf "), ContainSubstring(`--bpffs "" to pin nothing`))))
	g.Expect(checkBPFFS("")).To(Succeed())
	g.Expect(mountPoint("/sys/fs/bpf/vlandemux")).To(Equal("/sys/fs/bpf"))
}
