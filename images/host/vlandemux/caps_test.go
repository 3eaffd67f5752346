package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"
	"github.com/onsi/gomega/gexec"
	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/bpf/linux"
)

func capabilityNumbers() map[string]uintptr {
	return map[string]uintptr{"CAP_NET_ADMIN": unix.CAP_NET_ADMIN, "CAP_BPF": unix.CAP_BPF, "CAP_PERFMON": unix.CAP_PERFMON, "CAP_CHOWN": unix.CAP_CHOWN}
}

// readmeCapabilities are those that the README says this kernel wants.
func readmeCapabilities(g *WithT) []string {
	readme, err := os.ReadFile("../../../README.md")
	g.Expect(err).NotTo(HaveOccurred())
	said := regexp.MustCompile(`(?s)It needs Linux 6\.1 or newer and (CAP_\w+) and\s+(CAP_\w+), before Linux 6\.12 also (CAP_\w+)`).FindSubmatch(readme)
	g.Expect(said).To(HaveLen(4), "the README's sentence about capabilities")
	names := []string{string(said[1]), string(said[2])}
	var name unix.Utsname
	g.Expect(unix.Uname(&name)).To(Succeed())
	if !linux.WithoutPerfmon.In(unix.ByteSliceToString(name.Release[:])) {
		names = append(names, string(said[3]))
	}
	return names
}

// unitCapabilities are those of the package's unit file.
func unitCapabilities(g *WithT) []string {
	unit, err := os.ReadFile("package/vlandemux.service")
	g.Expect(err).NotTo(HaveOccurred())
	set := regexp.MustCompile(`(?m)^CapabilityBoundingSet=(.*)$`).FindSubmatch(unit)
	g.Expect(set).To(HaveLen(2))
	return strings.Fields(string(set[1]))
}

const (
	otherUser  = 65533
	otherGroup = 65532
)

// It runs, is taken over and detached with exactly the capabilities that are named, and lends its socket to a group.
func TestRunsWithExactlyTheCapabilitiesNamed(t *testing.T) {
	for name, c := range map[string]struct {
		capabilities func(*WithT) []string
		user         uint32
	}{
		"as root, the README's":         {capabilities: readmeCapabilities},
		"as another user, the README's": {capabilities: readmeCapabilities, user: otherUser},
		"as root, the unit's":           {capabilities: unitCapabilities},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			needCapabilities(t, unix.CAP_BPF, unix.CAP_CHOWN, unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_SETPCAP)
			names := c.capabilities(g)
			b := newBed(t)
			// As the other user finds it: a folder of his own for each thing.
			for _, folder := range []string{filepath.Dir(b.bpffs), filepath.Dir(b.socket)} {
				g.Expect(os.Chmod(filepath.Dir(folder), 0o755)).To(Succeed())
				g.Expect(os.Chown(folder, int(c.user), int(c.user))).To(Succeed())
				g.Expect(os.Chmod(folder, 0o755)).To(Succeed())
			}
			program := b.program()
			args := []string{"run", "--bpffs", b.bpffs, "--socket", b.socket, "--trunk", "t0", "--assign", clientA + "=w0"}
			inGroup := len(names) == len(capabilityNumbers()) || c.user != 0 // root without CAP_CHOWN cannot lend it
			if inGroup {
				args = append(args, "--socket-group", fmt.Sprint(otherGroup))
			}
			trunk, worker := b.port("t1"), b.port("w0p")
			for range 2 {
				session := b.as(program, c.user, names, args...)
				g.Eventually(session.Err, patience).Should(gbytes.Say(`\bready\b`))
				trunk.send(tagged(frame(gateway, clientA, "up"), 12))
				g.Expect(worker.receive()).To(Equal(frame(gateway, clientA, "up")))
				if inGroup {
					answer := b.as(program, otherUser+1, nil, "status", "--socket", b.socket)
					g.Eventually(answer, patience).Should(gexec.Exit(0))
				}
				g.Eventually(session.Terminate(), patience).Should(gexec.Exit(0))
			}
			g.Eventually(b.as(program, c.user, names, "detach", "--bpffs", b.bpffs, "--socket", b.socket), patience).Should(gexec.Exit(0))
			for _, left := range []string{b.bpffs, lockPath(b.bpffs), b.socket} {
				g.Expect(left).NotTo(Or(BeADirectory(), BeAnExistingFile()))
			}
		})
	}
}

// Without CAP_SYS_ADMIN it cannot see whose program is on an interface: it takes none that could be another vlandemux's,
// whatever is forced.
func TestAProgramThatCannotBeSeenIsNotForced(t *testing.T) {
	g := NewWithT(t)
	needCapabilities(t, unix.CAP_BPF, unix.CAP_SETPCAP)
	b := newBed(t)
	program, names := b.program(), unitCapabilities(g)
	first := b.run("--trunk", "t0", "--assign", clientA+"=w0")
	other := *b
	other.bpffs, other.socket = b.bpffs+"2", b.socket+"2"
	run := func(trunk, worker string) *gexec.Session {
		return b.as(program, 0, names, "run", "--force", "--bpffs", other.bpffs, "--socket", other.socket, "--trunk", trunk, "--assign", clientB+"="+worker)
	}
	for _, taken := range [][2]string{{"t0", "w1"}, {"u0", "w0"}} {
		session := run(taken[0], taken[1])
		g.Eventually(session, patience).Should(gexec.Exit(exitFailure))
		g.Expect(session.Err).To(gbytes.Say("this process may not see whose it is: .*CAP_SYS_ADMIN"))
	}
	b.port("t1").send(tagged(frame(gateway, clientA, "up"), 12))
	g.Eventually(func() uint64 { return b.counters(clientA).Rx.Packets }, patience).Should(BeEquivalentTo(1))
	session := run("u0", "w1")
	g.Eventually(session.Err, patience).Should(gbytes.Say(`\bready\b`))
	for _, s := range []*gexec.Session{first, session} {
		g.Eventually(s.Terminate(), patience).Should(gexec.Exit(0))
	}
}

// needCapabilities skips the test in an engine's container, which has not got them: `make test KERNEL=6.1` has.
func needCapabilities(t *testing.T, capabilities ...int) {
	var own [2]unix.CapUserData
	NewWithT(t).Expect(unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &own[0])).To(Succeed())
	for _, capability := range capabilities {
		if own[capability/32].Permitted&(1<<(capability%32)) == 0 {
			t.Skipf("this process lacks capability %d: `make test KERNEL=6.1` runs this test", capability)
		}
	}
}

// program is a copy of the test binary that every user may run.
func (b *bed) program() string {
	g := NewWithT(b.t)
	from, err := os.Open("/proc/self/exe")
	g.Expect(err).NotTo(HaveOccurred())
	defer from.Close()
	folder := b.t.TempDir()
	g.Expect(os.Chmod(folder, 0o755)).To(Succeed())
	path := filepath.Join(folder, "vlandemux")
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = io.Copy(to, from)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(to.Close()).To(Succeed())
	return path
}

// as starts the program in the bed's namespaces as that user, who is in otherGroup, with those capabilities and no other.
func (b *bed) as(program string, user uint32, capabilities []string, args ...string) *gexec.Session {
	b.t.Helper()
	g := NewWithT(b.t)
	keep := make(map[uintptr]bool)
	cmd := exec.Command(program, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user, NoSetGroups: user == 0, Groups: []uint32{otherGroup}}}
	for _, name := range capabilities {
		number, known := capabilityNumbers()[name]
		g.Expect(known).To(BeTrue(), name)
		keep[number] = true
		if user != 0 {
			cmd.SysProcAttr.AmbientCaps = append(cmd.SysProcAttr.AmbientCaps, number)
		}
	}
	return b.start(cmd, func() {
		for number := range uintptr(unix.CAP_LAST_CAP + 1) { // what root gets
			if has, _ := unix.PrctlRetInt(unix.PR_CAPBSET_READ, number, 0, 0, 0); user == 0 && has == 1 && !keep[number] {
				g.Expect(unix.Prctl(unix.PR_CAPBSET_DROP, number, 0, 0, 0)).To(Succeed())
			}
		}
	})
}

// start starts the program in the bed's namespaces, from a thread of its own that was prepared for it.
func (b *bed) start(cmd *exec.Cmd, prepare func()) *gexec.Session {
	b.t.Helper()
	g := NewWithT(b.t)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	var spaces [2]*os.File
	for i, name := range []string{"net", "mnt"} {
		space, err := os.Open("/proc/thread-self/ns/" + name)
		g.Expect(err).NotTo(HaveOccurred())
		defer space.Close()
		spaces[i] = space
	}
	started := make(chan *gexec.Session)
	go func() {
		defer close(started)
		runtime.LockOSThread() // the thread ends with the goroutine
		g.Expect(unix.Unshare(unix.CLONE_FS)).To(Succeed())
		for _, space := range spaces {
			g.Expect(unix.Setns(int(space.Fd()), 0)).To(Succeed())
		}
		prepare()
		session, err := gexec.Start(cmd, b.t.Output(), b.t.Output())
		g.Expect(err).NotTo(HaveOccurred())
		started <- session
	}()
	session := <-started
	g.Expect(session).NotTo(BeNil())
	b.t.Cleanup(func() { session.Kill(); <-session.Exited })
	return session
}
