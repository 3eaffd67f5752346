package demux_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/linux"
	"github.com/vlandemux/vlandemux/bpf/nettest"
	"golang.org/x/sys/unix"
)

// CAP_NET_ADMIN and CAP_BPF are enough, as root and as another user who owns the
// BPF file system. The verifier of an older kernel wants CAP_PERFMON too.
//
// It hands out these capabilities, and so needs more itself than engines give a
// container: it runs in the VM, on Linux 6.12.
func TestNeedsTwoCapabilities(t *testing.T) {
	var own [2]unix.CapUserData
	NewWithT(t).Expect(unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &own[0])).To(Succeed())
	for _, capability := range []int{unix.CAP_BPF, unix.CAP_CHOWN, unix.CAP_SETUID} {
		if own[capability/32].Permitted&(1<<(capability%32)) == 0 {
			t.Skipf("this process lacks capability %d: `make test KERNEL=6.12` runs this test", capability)
		}
	}
	for name, user := range map[string]int{"root": 0, "another user": 65534} {
		t.Run(name, func(t *testing.T) {
			linux.WithoutPerfmon.Need(t)
			b := wire(t)
			mount := nettest.BPFFS(t)
			opts := demux.Options{PinPath: filepath.Join(mount, "demux")}
			for _, err := range []error{
				os.Chmod(filepath.Dir(mount), 0o755),
				os.Chown(mount, user, user),
				os.Chmod(mount, 0o700),
			} {
				b.Expect(err).NotTo(HaveOccurred())
			}
			b.with(user, []int{unix.CAP_NET_ADMIN, unix.CAP_BPF}, func() {
				b.demux = b.load(opts)
				for _, trunk := range []string{"trunk0", "trunk1"} {
					_, err := b.demux.AttachTrunk(trunk, false)
					b.Expect(err).NotTo(HaveOccurred())
				}
				b.assign(mac(1), 0)
				b.learn(0, 1, tag(7))
				b.Expect(b.demux.Close()).To(Succeed())
				b.demux = b.load(opts)
				b.learn(0, 1, tag(8))
				b.Expect(b.demux.Detach()).To(Succeed())
			})
		})
	}
}

// with runs fn in the namespaces of the test as that user with those capabilities. Its
// thread ends with it.
func (b *bed) with(user int, capabilities []int, fn func()) {
	b.t.Helper()
	var spaces [2]*os.File
	for i, name := range []string{"net", "mnt"} {
		var err error
		spaces[i], err = os.Open("/proc/thread-self/ns/" + name)
		b.Expect(err).NotTo(HaveOccurred())
		defer spaces[i].Close()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		b.Expect(unix.Unshare(unix.CLONE_FS)).To(Succeed())
		for _, space := range spaces {
			b.Expect(unix.Setns(int(space.Fd()), 0)).To(Succeed())
		}
		b.Expect(unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0)).To(Succeed())
		_, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(user), uintptr(user), uintptr(user)) // of this thread alone
		b.Expect(errno).To(BeZero())
		var sets [2]unix.CapUserData
		for _, capability := range capabilities {
			sets[capability/32].Permitted |= 1 << (capability % 32)
		}
		for i := range sets {
			sets[i].Effective = sets[i].Permitted
		}
		b.Expect(unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &sets[0])).To(Succeed())
		fn()
	}()
	<-done
}
