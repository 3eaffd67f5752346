package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"
	"github.com/onsi/gomega/gexec"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
	"github.com/vlandemux/vlandemux/bpf/linux"
)

const (
	clientA = "02:00:00:00:00:0a"
	clientB = "02:00:00:00:00:0b"
	gateway = "02:00:00:00:00:ff"
)

// counters are those of the client.
func (b *bed) counters(mac string) control.ClientCounters {
	b.t.Helper()
	g := NewWithT(b.t)
	var all control.Counters
	g.Expect(json.Unmarshal([]byte(b.ask("counters", "--json")), &all)).To(Succeed())
	for _, c := range all.Clients {
		if c.MAC.String() == mac {
			return c
		}
	}
	b.t.Fatalf("%s is not in %+v", mac, all)
	return control.ClientCounters{}
}

func (b *bed) status() report {
	b.t.Helper()
	var all report
	NewWithT(b.t).Expect(json.Unmarshal([]byte(b.ask("status", "--json")), &all)).To(Succeed())
	return all
}

// programs counts the programs on an interface's ingress, either way they can be attached.
func (b *bed) programs(name string) int {
	b.t.Helper()
	result, err := link.QueryPrograms(link.QueryOptions{Target: b.link(name).Attrs().Index, Attach: ebpf.AttachTCXIngress})
	if errors.Is(err, unix.EINVAL) {
		return b.filters(name) // an attach type that the kernel does not know: it has no TCX
	}
	NewWithT(b.t).Expect(err).NotTo(HaveOccurred())
	return len(result.Programs) + b.filters(name)
}

// expectNothingLeft is what `vlandemux detach` promises.
func (b *bed) expectNothingLeft() {
	b.t.Helper()
	g := NewWithT(b.t)
	entries, err := os.ReadDir(filepath.Dir(b.bpffs))
	g.Expect(err).NotTo(HaveOccurred())
	var pins []string
	for _, entry := range entries {
		if entry.IsDir() {
			pins = append(pins, entry.Name()) // the kernel's own maps.debug and progs.debug are files
		}
	}
	g.Expect(pins).To(BeEmpty())
	g.Expect(b.socket).NotTo(BeAnExistingFile())
	for _, name := range []string{"t0", "u0", "w0", "w1"} {
		g.Expect(b.programs(name)).To(BeZero(), name)
		qdiscs, err := netlink.QdiscList(b.link(name))
		g.Expect(err).NotTo(HaveOccurred())
		for _, qdisc := range qdiscs {
			g.Expect(qdisc.Type()).NotTo(Equal("clsact"), name)
		}
	}
}

func TestTheDemuxOutlivesItsProcess(t *testing.T) {
	for _, mode := range []string{"tcx", "clsact"} {
		t.Run(mode, func(t *testing.T) {
			if mode == "tcx" {
				linux.TCX.Need(t)
			}
			g := NewWithT(t)
			b := newBed(t)
			first := b.run("--trunk", "t0", "--assign", clientA+"=w0", "--attach", mode)
			trunk, worker := b.port("t1"), b.port("w0p")

			request, answer := frame(gateway, clientA, "request"), frame(clientA, gateway, "answer")
			trunk.send(tagged(request, 5<<13|12))
			g.Expect(worker.receive()).To(Equal(request))
			worker.send(answer)
			g.Expect(trunk.receive()).To(Equal(tagged(answer, 5<<13|12)))
			g.Expect(b.counters(clientA)).To(Equal(control.ClientCounters{
				MAC: given(clientA, "").MAC, Worker: "w0", Rx: control.Tally{Packets: 1, Bytes: 64}, Tx: control.Tally{Packets: 1, Bytes: 64},
				Location: &control.Location{Trunk: "t0", TrunkIndex: b.link("t0").Attrs().Index, Protocol: "802.1Q", VID: 12, PCP: 5},
			}))
			g.Expect(b.ask("counters")).To(ContainSubstring(clientA + "  w0      t0 802.1Q 12 pcp 5"))

			// Killed: frames still go through, and the socket of the dead is in the way.
			first.Kill()
			g.Eventually(first, patience).Should(gexec.Exit())
			g.Expect(b.socket).To(BeAnExistingFile())
			trunk.send(tagged(request, 13))
			g.Expect(worker.receive()).To(Equal(request))
			g.Expect(b.refused("status", "--socket", b.socket)).To(ContainSubstring("connection refused: no `vlandemux run` serves there, anything it has pinned goes on"))

			// The next one takes over with everything known.
			second := b.run("--attach", mode)
			status := b.status()
			g.Expect(status.PID).To(Equal(second.Command.Process.Pid))
			g.Expect(status.Trunks).To(Equal([]control.Interface{{Name: "t0", Index: b.link("t0").Attrs().Index, Attach: mode, State: "up", MTU: 1500}}))
			g.Expect(status.Workers).To(Equal([]control.Interface{{Name: "w0", Index: b.link("w0").Attrs().Index, Attach: mode, State: "up", MTU: 1500}}))
			g.Expect(b.counters(clientA).Rx).To(Equal(control.Tally{Packets: 2, Bytes: 128}))
			g.Expect(b.counters(clientA).Location.VID).To(BeEquivalentTo(13))
			worker.send(answer)
			g.Expect(trunk.receive()).To(Equal(tagged(answer, 13)))

			// Ended: it says what stays, and it stays.
			g.Eventually(second.Terminate(), patience).Should(gexec.Exit(0))
			g.Expect(second.Err).To(gbytes.Say("vlandemux detach"))
			g.Expect(b.socket).NotTo(BeAnExistingFile())
			trunk.send(tagged(request, 13))
			g.Expect(worker.receive()).To(Equal(request))

			g.Expect(b.ask("detach", "--bpffs", b.bpffs)).To(HavePrefix("detached"))
			b.expectNothingLeft()
			g.Expect(b.ask("detach", "--bpffs", b.bpffs)).To(HavePrefix("nothing is pinned in"))
		})
	}
}

// What others take away while it runs does not stop it: it says what that means and what to do.
func TestItSaysThatItsPinsHaveGone(t *testing.T) {
	for name, remove := range map[string]func(*bed) error{
		"removed": func(b *bed) error { return os.RemoveAll(b.bpffs) },
		"unmounted": func(b *bed) error {
			mount := filepath.Dir(b.bpffs)
			b.t.Cleanup(func() { NewWithT(b.t).Expect(unix.Mount("bpf", mount, "bpf", 0, "")).To(Succeed()) })
			return unix.Unmount(mount, unix.MNT_DETACH)
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			b := newBed(t)
			session := b.run("--trunk", "t0", "--assign", clientA+"=w0")
			g.Expect(b.ask("status")).NotTo(ContainSubstring("warning"))
			g.Expect(remove(b)).To(Succeed())
			g.Expect(b.ask("status")).To(ContainSubstring("warning: the pins in " + b.bpffs + " have gone"))
			g.Eventually(session.Terminate(), patience).Should(gexec.Exit(0))
			g.Expect(session.Err).To(gbytes.Say("the pins have gone, so the demux ends here"))
		})
	}
}

func TestItSaysThatItsSocketHasGone(t *testing.T) {
	g := NewWithT(t)
	b := newBed(t)
	const ends = ": no `vlandemux run` serves there"
	g.Expect(b.refused("status", "--socket", b.socket)).To(ContainSubstring(ends))
	args := []string{"--trunk", "t0", "--assign", clientA + "=w0"}
	session := b.run(args...)
	g.Expect(os.Remove(b.socket)).To(Succeed())
	g.Expect(b.refused("status", "--socket", b.socket)).To(ContainSubstring("`vlandemux run` serves there, but somebody has removed the file; restart it"))
	g.Eventually(session.Terminate(), patience).Should(gexec.Exit(0))
	g.Expect(b.refused("status", "--socket", b.socket)).To(ContainSubstring(ends))
	b.run(args...)
	g.Expect(b.status().Assignments).To(HaveLen(1))
}

func TestDetachAfterKillLeavesNothing(t *testing.T) {
	g := NewWithT(t)
	b := newBed(t)
	session := b.run("--trunk", "t0", "--trunk", "u0", "--assign", clientA+"=w0,"+clientB+"=w1")
	g.Expect(b.programs("t0")).To(Equal(1), "else the check below proves nothing")
	g.Expect(b.refused("detach", "--bpffs", b.bpffs, "--socket", b.socket)).To(ContainSubstring("another vlandemux runs with these pins"))
	g.Eventually(session.Kill(), patience).Should(gexec.Exit())
	b.ask("detach", "--bpffs", b.bpffs)
	b.expectNothingLeft()
}

func TestWithoutPinsEverythingEndsWithTheProcess(t *testing.T) {
	for _, mode := range []string{"tcx", "clsact"} {
		t.Run(mode, func(t *testing.T) {
			if mode == "tcx" {
				linux.TCX.Need(t)
			}
			g := NewWithT(t)
			b := newBed(t)
			session := b.run("--trunk", "t0", "--assign", clientA+"=w0", "--bpffs=", "--attach", mode)
			g.Expect(b.programs("t0")).To(Equal(1))
			g.Eventually(session.Interrupt(), patience).Should(gexec.Exit(0))
			b.expectNothingLeft()
		})
	}
}

func TestClientsComeAndGoWhileTrafficFlows(t *testing.T) {
	g := NewWithT(t)
	b := newBed(t)
	b.run("--trunk", "t0", "--capacity", "2")
	trunk, worker := b.port("t1"), b.port("w1p")
	request := frame(gateway, clientA, "request")
	events := b.command("watch", "--socket", b.socket)
	g.Eventually(events.Err, patience).Should(gbytes.Say("watching"))
	drops := b.command("watch", "--drops", "--socket", b.socket)
	g.Eventually(drops.Err, patience).Should(gbytes.Say("watching"))
	dropsJSON := b.command("watch", "--drops", "--json", "--socket", b.socket)
	g.Eventually(dropsJSON.Err, patience).Should(gbytes.Say("watching"))
	trunk.send(tagged(request, 12))
	g.Eventually(drops.Out, patience).Should(gbytes.Say(`dropped    unknown_client  ` + clientA + `  t0 802.1Q 12  1 frame\n`))
	g.Eventually(dropsJSON.Out, patience).Should(gbytes.Say(`{"type":"dropped","mac":"` + clientA + `","reason":"unknown_client","interface":"t0",`))
	g.Eventually(drops.Interrupt(), patience).Should(gexec.Exit(0))
	g.Eventually(dropsJSON.Interrupt(), patience).Should(gexec.Exit(0))

	b.ask("assign", clientA+"=w1")
	trunk.send(tagged(request, 12))
	g.Expect(worker.receive()).To(Equal(request))
	g.Eventually(events.Out, patience).Should(gbytes.Say(`learned      ` + clientA + `  t0 802.1Q 12\n`))
	trunk.send(tagged(request, 0))
	g.Expect(worker.receive()).To(Equal(request))
	g.Eventually(events.Out, patience).Should(gbytes.Say(`moved        ` + clientA + `  t0 802.1Q 12 -> t0 802.1Q 0\n`))
	g.Eventually(events.Interrupt(), patience).Should(gexec.Exit(0))

	asking := func(args ...string) string { return b.refused(append(args, "--socket", b.socket)...) }
	g.Expect(asking("assign", clientA+"=w0")).To(
		Equal("vlandemux: assigning " + clientA + " to w0: already assigned to w1; --move changes that\n"))
	b.ask("assign", clientA+"=w1")
	g.Expect(asking("assign", clientA+"=w1@t0:12")).To(Equal("vlandemux: assigning " + clientA + " to w1@t0:12: already assigned to w1; --move changes that\n"))
	g.Expect(asking("assign", clientB+"=w0", "02:00:00:00:00:0c=w0")).To(ContainSubstring("all 2 assignments are in use"))
	g.Expect(b.status().Assignments).To(HaveLen(1), "the first of the two is taken back")
	g.Expect(asking("assign", clientB+"=w7")).To(ContainSubstring("attaching w7: unknown interface in this network namespace, there are: lo, "))
	g.Expect(asking("assign", clientB+"=t0")).To(ContainSubstring("cannot have that role"))
	g.Expect(asking("unassign", clientA, clientB)).To(ContainSubstring(clientB + ": not assigned"))
	g.Expect(b.status().Assignments).To(HaveLen(1))

	b.ask("assign", "--move", clientA+"=w0")
	g.Expect(b.counters(clientA)).To(And(HaveField("Worker", "w0"), HaveField("Rx.Packets", BeEquivalentTo(2))))
	b.ask("unassign", clientA)
	g.Expect(b.status().Assignments).To(BeEmpty())
}

func TestAnUnusedLocationIsForgotten(t *testing.T) {
	g := NewWithT(t)
	b := newBed(t)
	session := b.run("--trunk", "t0", "--assign", clientA+"=w0", "--age", "1s")
	events := b.command("watch", "--socket", b.socket)
	g.Eventually(events.Err, patience).Should(gbytes.Say("watching"))
	b.port("t1").send(tagged(frame(gateway, clientA, "request"), 12))
	g.Eventually(events.Out, patience).Should(gbytes.Say(`learned      ` + clientA + `  t0 802.1Q 12\n`))
	g.Eventually(events.Out, patience).Should(gbytes.Say(`forgotten    ` + clientA + `  t0 802.1Q 12\n`))
	g.Expect(b.status()).To(And(HaveField("AgeSeconds", 1), HaveField("Assignments", HaveExactElements(HaveField("Location", BeNil())))))
	g.Eventually(session.Interrupt(), patience).Should(gexec.Exit(0))
	b.run("--age", "0")
	g.Expect(b.ask("status")).To(ContainSubstring("unused locations: kept"))
}

func TestInterfacesMadeAgainAreAttachedAgain(t *testing.T) {
	g := NewWithT(t)
	b := newBed(t)
	session := b.run("--trunk", "t0", "--assign", clientA+"=w0")
	request := frame(gateway, clientA, "request")
	b.port("t1").send(tagged(request, 12))
	for _, names := range [][2]string{{"w0", "w0p"}, {"t0", "t1"}} {
		g.Expect(netlink.LinkDel(b.link(names[0]))).To(Succeed())
		g.Eventually(session.Err, patience).Should(gbytes.Say("interface=" + names[0] + " change=gone"))
		b.veth(names[0], names[1])
		g.Eventually(session.Err, patience).Should(gbytes.Say("interface=" + names[0] + " change=.?attached"))
	}
	g.Eventually(func() []string {
		all := b.status()
		return []string{all.Trunks[0].State, all.Workers[0].State}
	}, patience).Should(HaveEach(control.StateUp), "until it knows, it drops what is for an interface that was down")
	trunk, worker := b.port("t1"), b.port("w0p")
	trunk.send(tagged(request, 14))
	g.Expect(worker.receive()).To(Equal(request))
	answer := frame(clientA, gateway, "answer")
	worker.send(answer)
	g.Expect(trunk.receive()).To(Equal(tagged(answer, 14)))
	g.Expect(b.counters(clientA).Rx.Packets).To(BeEquivalentTo(2))
}

func TestAFailedStartLeavesEverythingAsItWas(t *testing.T) {
	g := NewWithT(t)
	b := newBed(t)
	run := func(args ...string) string {
		return b.refused(append([]string{"run", "--bpffs", b.bpffs, "--socket", b.socket}, args...)...)
	}
	g.Expect(run("--trunk", "t0", "--assign", clientA+"=lo")).To(ContainSubstring("it is the loopback interface"))
	g.Expect(run("--assign", clientA+"=w0")).To(ContainSubstring("no trunk: give the interface"))
	b.setUp("lo") // else the kernel takes any address for one of its own
	g.Expect(run("--trunk", "t0", "--metrics", "192.0.2.1:9400")).To(ContainSubstring("serving metrics on 192.0.2.1:9400"))
	b.expectNothingLeft()

	// Another program's pin in the folder stays, alone.
	other, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(errors.Join(os.Mkdir(b.bpffs, 0o700), other.Pin(filepath.Join(b.bpffs, "other")))).To(Succeed())
	g.Expect(run("--trunk", "t0", "--assign", clientA+"=lo")).To(ContainSubstring("it is the loopback interface"))
	left, err := os.ReadDir(b.bpffs)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(left).To(HaveExactElements(HaveField("Name()", "other")))
	g.Expect(errors.Join(other.Unpin(), other.Close(), os.Remove(b.bpffs))).To(Succeed())

	session := b.run("--trunk", "t0", "--assign", clientA+"=w0", "--capacity", "1")
	g.Expect(run("--trunk", "u0")).To(ContainSubstring("socket in use"))
	g.Expect(b.refused("run", "--trunk", "u0", "--bpffs", b.bpffs, "--socket", b.socket+"2")).To(
		ContainSubstring("another vlandemux runs with these pins"))
	g.Eventually(session.Terminate(), patience).Should(gexec.Exit(0))

	g.Expect(run("--trunk", "u0", "--assign", clientB+"=w1", "--capacity", "1")).To(ContainSubstring("more than its capacity of 1"))
	g.Expect(run("--trunk", "w0", "--capacity", "1")).To(ContainSubstring("cannot have that role"))
	for name, want := range map[string]int{"t0": 1, "w0": 1, "u0": 0, "w1": 0} {
		g.Expect(b.programs(name)).To(Equal(want), name)
	}
	trunk, worker := b.port("t1"), b.port("w0p")
	request := frame(gateway, clientA, "request")
	trunk.send(tagged(request, 12))
	g.Expect(worker.receive()).To(Equal(request))
}

func TestALowLimitOfOpenFilesIsTold(t *testing.T) {
	g := NewWithT(t)
	b := newBed(t)
	low := exec.Command("/proc/self/exe", "run", "--trunk", "t0", "--bpffs", b.bpffs, "--socket", b.socket)
	low.Env = append(os.Environ(), asProgram+"=1", openFiles+"=64")
	session, err := gexec.Start(low, t.Output(), t.Output())
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { session.Kill() })
	g.Eventually(session, patience).Should(gexec.Exit(exitFailure))
	g.Expect(session.Err).To(gbytes.Say("may have 64 files open, and needs 192"))
	b.expectNothingLeft()
}

func TestPinsNeedABPFFileSystem(t *testing.T) {
	g := NewWithT(t)
	b := newBed(t)
	plain := t.TempDir()
	g.Expect(b.refused("run", "--trunk", "t0", "--bpffs", plain+"/vlandemux", "--socket", b.socket)).To(
		ContainSubstring("is not in a BPF file system: mount one with `mount -t bpf bpf " + plain + "`"))
	g.Expect(os.ReadDir(plain)).To(BeEmpty())
	mount := filepath.Dir(b.bpffs)
	g.Expect(b.refused("run", "--trunk", "t0", "--bpffs", mount, "--socket", b.socket)).To(
		ContainSubstring(mount + " is a whole BPF file system: name a folder in it, such as --bpffs " + mount + "/vlandemux"))
	g.Expect(b.refused("run", "--trunk", "t0", "--bpffs", mount+"/a.b/c", "--socket", b.socket)).To(ContainSubstring("have no dots"))
	b.expectNothingLeft()
}
