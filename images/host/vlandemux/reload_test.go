package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"
	"github.com/onsi/gomega/gexec"
	"golang.org/x/sys/unix"
)

const clientC = "02:00:00:00:00:0c"

// workers are those of the clients now, by MAC.
func (b *bed) workers() map[string]string {
	b.t.Helper()
	workers := make(map[string]string)
	for _, a := range b.status().Assignments {
		workers[a.MAC.String()] = a.Worker
	}
	return workers
}

func (b *bed) write(path, text string) {
	b.t.Helper()
	NewWithT(b.t).Expect(os.WriteFile(path, []byte(text), 0o600)).To(Succeed())
}

func TestSIGHUPReadsTheConfigurationAgain(t *testing.T) {
	g := NewWithT(t)
	b := newBed(t)
	file := filepath.Join(t.TempDir(), "vlandemux.yaml")
	b.write(file, "trunks: [t0]\nassign: {"+clientA+": w0, "+clientB+": w0}\n")
	session := b.run("--config", file)
	b.ask("assign", clientC+"=w0")

	b.write(file, "trunks: [t0, u0]\nassign: {"+clientB+": w1}\ncapacity: 9\n")
	session.Signal(syscall.SIGHUP)
	g.Eventually(session.Err, patience).Should(gbytes.Say("next start.*capacity"))
	g.Eventually(session.Err, patience).Should(gbytes.Say("reloaded.*unassigned=1"))
	g.Expect(b.workers()).To(Equal(map[string]string{clientB: "w1", clientC: "w0"}))
	g.Expect(b.status().Trunks).To(HaveLen(2))

	b.write(file, "trunks: [t0]\nassign: {"+clientB+": w0, nonsense: w1}\n")
	session.Signal(syscall.SIGHUP)
	g.Eventually(session.Err, patience).Should(gbytes.Say("reloading failed.*nonsense"))
	g.Expect(b.workers()).To(Equal(map[string]string{clientB: "w1", clientC: "w0"}))
	g.Expect(b.status().Trunks).To(HaveLen(2))
	g.Eventually(session.Terminate(), patience).Should(gexec.Exit(0))
}

// A file that is empty while it is written, and one that can be read once, are no reason to unassign anybody.
func TestSIGHUPWithAFileThatCannotBeMeant(t *testing.T) {
	g := NewWithT(t)
	b := newBed(t)
	file := filepath.Join(t.TempDir(), "vlandemux.yaml")
	b.write(file, "trunks: [t0]\nassign: {"+clientA+": w0}\n")
	session := b.run("--config", file)
	reload := func(say string) {
		t.Helper()
		session.Signal(syscall.SIGHUP)
		g.Eventually(session.Err, patience).Should(gbytes.Say(say))
		g.Expect(b.workers()).To(Equal(map[string]string{clientA: "w0"}))
	}
	b.write(file, "")
	reload(`reloading failed.*no .*assign.* any more`)
	b.write(file, "trunks: [t0]\n")
	reload(`reloading failed.*no .*assign.* any more`)
	g.Expect(os.Remove(file)).To(Succeed())
	g.Expect(unix.Mkfifo(file, 0o600)).To(Succeed())
	reload(`reloading failed.*no plain file`)
	g.Eventually(session.Terminate(), patience).Should(gexec.Exit(0))
}

func TestSIGHUPReplacesAFullTable(t *testing.T) {
	g := NewWithT(t)
	b := newBed(t)
	file := filepath.Join(t.TempDir(), "vlandemux.yaml")
	b.write(file, "trunks: [t0]\ncapacity: 2\nassign: {"+clientA+": w0, "+clientB+": w0}\n")
	session := b.run("--config", file)
	b.write(file, "trunks: [t0]\ncapacity: 2\nassign: {"+clientB+": w1, "+clientC+": w0}\n")
	session.Signal(syscall.SIGHUP)
	g.Eventually(session.Err, patience).Should(gbytes.Say("reloaded.*unassigned=1"))
	g.Expect(b.workers()).To(Equal(map[string]string{clientB: "w1", clientC: "w0"}))
}

// What becomes of unknown MACs is fixed in the programs: the status tells what they do.
func TestSIGHUPLeavesWhatTakesEffectAtTheNextStart(t *testing.T) {
	g := NewWithT(t)
	b := newBed(t)
	file := filepath.Join(t.TempDir(), "vlandemux.yaml")
	b.write(file, "trunks: [t0]\n")
	session := b.run("--config", file)
	for range 2 {
		b.write(file, "trunks: [t0]\nunknown: w1\n")
		session.Signal(syscall.SIGHUP)
		g.Eventually(session.Err, patience).Should(gbytes.Say("next start.*unknown"))
		g.Eventually(session.Err, patience).Should(gbytes.Say("reloaded"))
		g.Expect(b.status().Unknown).To(Equal("drop"))
		g.Expect(b.programs("w1")).To(BeZero())
	}
}

func TestSystemdIsToldEachState(t *testing.T) {
	g := NewWithT(t)
	b := newBed(t)
	path := filepath.Join(t.TempDir(), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = systemd.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	told := func() string {
		g.Expect(systemd.SetReadDeadline(time.Now().Add(patience))).To(Succeed())
		text := make([]byte, 4096)
		n, err := systemd.Read(text)
		g.Expect(err).NotTo(HaveOccurred())
		return string(text[:n])
	}
	session := b.run("--trunk", "t0", "--assign", clientA+"=w0")
	g.Expect(told()).To(Equal("READY=1\nSTATUS=1 trunks, 1 workers, socket " + b.socket))
	session.Signal(syscall.SIGHUP)
	g.Expect(told()).To(MatchRegexp(`^RELOADING=1\nMONOTONIC_USEC=\d+\n$`))
	g.Expect(told()).To(Equal("READY=1"))
	session.Terminate()
	g.Expect(told()).To(Equal("STOPPING=1"))
	g.Eventually(session, patience).Should(gexec.Exit(0))
}

func TestLogsAsJSONAndASocketForAGroup(t *testing.T) {
	g := NewWithT(t)
	b := newBed(t)
	session := b.run("--trunk", "t0", "--log-format", "json", "--socket-group", "0")
	g.Expect(string(session.Err.Contents())).To(HavePrefix(`{"time":`))
	var stat unix.Stat_t
	g.Expect(unix.Stat(b.socket, &stat)).To(Succeed())
	g.Expect(stat.Gid).To(BeEquivalentTo(0)) // another one takes CAP_CHOWN, which a container need not have
	g.Expect(stat.Mode & 0o777).To(BeEquivalentTo(0o660))

	g.Eventually(session.Terminate(), patience).Should(gexec.Exit(0))
	g.Expect(b.refused("run", "--trunk", "t0", "--bpffs", b.bpffs, "--socket", b.socket, "--socket-group", "nobody-has-it")).
		To(ContainSubstring("nobody-has-it"))
	for _, number := range []string{"-1", "4294967296"} {
		g.Expect(b.refused("run", "--trunk", "t0", "--bpffs", b.bpffs, "--socket", b.socket, "--socket-group", number)).To(ContainSubstring(number))
	}
	g.Expect(b.socket).NotTo(BeAnExistingFile())

	other := newRoot()
	other.SetArgs([]string{"run", "--log-format", "xml"})
	g.Expect(other.Execute()).To(MatchError(ContainSubstring(`--log-format: "xml" is none of: text, json`)))
}

func TestDetachOneInterface(t *testing.T) {
	g := NewWithT(t)
	b := newBed(t)
	b.run("--trunk", "t0", "--trunk", "u0", "--assign", clientA+"=w0", "--assign", clientB+"=w1")
	b.ask("detach", "w1")
	b.ask("detach", "u0")
	g.Expect(b.workers()).To(Equal(map[string]string{clientA: "w0"}))
	g.Expect(b.status().Trunks).To(HaveLen(1))
	g.Expect(b.programs("w1") + b.programs("u0")).To(BeZero())
	g.Expect(b.refused("detach", "w1", "--socket", b.socket)).To(ContainSubstring("w1"))
}

func TestManPagesAreMadeOfTheHelp(t *testing.T) {
	g := NewWithT(t)
	folder := t.TempDir()
	root := newRoot()
	root.SetArgs([]string{"man", folder})
	g.Expect(root.Execute()).To(Succeed())
	for _, command := range root.Commands() {
		if !command.IsAvailableCommand() || command.Name() == "help" {
			continue
		}
		page, err := os.ReadFile(filepath.Join(folder, "vlandemux-"+command.Name()+".8"))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(strings.ReplaceAll(string(page), `\`, "")).To(ContainSubstring("vlandemux-" + command.Name()))
	}
	page, err := os.ReadFile(filepath.Join(folder, "vlandemux.8"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(page)).To(ContainSubstring("Exit codes"))
}
