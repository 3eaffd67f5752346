package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/vlandemux/vlandemux/bpf/demux/control"
	"github.com/vlandemux/vlandemux/harness/internal/tail"
	"github.com/vlandemux/vlandemux/harness/internal/traffic"
	"golang.org/x/sys/unix"
)

// agentProcess is an agent in a process, a network and a mount namespace of its own.
type agentProcess struct {
	*Client
	traffic.Sockets
	cmd    *exec.Cmd
	stderr *tail.Buffer
	exited chan struct{} // closed once the process has ended, and err is written
	err    error
}

func startAgent(t *testing.T, role Role) *agentProcess {
	t.Helper()
	g := NewWithT(t)
	a := &agentProcess{stderr: tail.New(1 << 20), exited: make(chan struct{})}
	a.cmd = exec.Command("/proc/self/exe")
	a.cmd.Env = append(os.Environ(), roleVariable+"="+string(role))
	a.cmd.SysProcAttr = &unix.SysProcAttr{Unshareflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS}
	a.cmd.Stderr = a.stderr
	stdin, err := a.cmd.StdinPipe()
	g.Expect(err).NotTo(HaveOccurred())
	// A pipe of our own: exec's would be closed by Wait, perhaps before everything was read.
	read, write, err := os.Pipe()
	g.Expect(err).NotTo(HaveOccurred())
	a.cmd.Stdout = write
	g.Expect(a.cmd.Start()).To(Succeed())
	write.Close()
	go func() {
		a.err = a.cmd.Wait()
		close(a.exited)
	}()
	a.Client = Dial(struct {
		io.Reader
		io.WriteCloser
	}{read, stdin})
	a.Sockets = traffic.Of(a.Client)
	t.Cleanup(func() {
		a.Close()
		g.Eventually(a.exited).Should(BeClosed())
		read.Close()
		if t.Failed() {
			t.Logf("the agent's log:\n%s", a.stderr)
		}
	})
	return a
}

func TestAClientsAgentHasNoHostRoutes(t *testing.T) {
	_, err := startAgent(t, RoleClient).Kernel(deadline(t, longest))
	NewWithT(t).Expect(err).To(MatchError(ContainSubstring("404")))
}

func TestAgentExitsWhenItsStreamEnds(t *testing.T) {
	g := NewWithT(t)
	a := startAgent(t, RoleClient)
	_, err := a.Footprint(deadline(t, longest))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(a.Close()).To(Succeed())
	g.Eventually(a.exited).Should(BeClosed())
	g.Expect(a.err).NotTo(HaveOccurred())
}

func TestAgentExitsOnSIGTERM(t *testing.T) {
	g := NewWithT(t)
	a := startAgent(t, RoleWorker)
	_, err := a.Footprint(deadline(t, longest))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(a.cmd.Process.Signal(unix.SIGTERM)).To(Succeed())
	g.Eventually(a.exited).Should(BeClosed())
	g.Expect(a.err).NotTo(HaveOccurred())
	g.Eventually(a.Done()).Should(BeClosed())
	_, err = a.Footprint(deadline(t, longest))
	var ended *StreamError
	g.Expect(errors.As(err, &ended)).To(BeTrue(), "%v", err)
}

func TestAnUnknownRoleIsRefused(t *testing.T) {
	err := Serve(t.Context(), strings.NewReader(""), io.Discard, Config{Role: "king", Log: slog.New(slog.DiscardHandler)})
	NewWithT(t).Expect(err).To(MatchError(ContainSubstring(`unknown role "king"`)))
}

func TestAHostInAUserNamespace(t *testing.T) {
	g := NewWithT(t)
	cmd := exec.CommandContext(deadline(t, longest), "/proc/self/exe")
	cmd.Env = append(os.Environ(), roleVariable+"="+string(RoleHost))
	cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	g.Expect(err).To(HaveOccurred())
	g.Expect(string(out)).To(And(ContainSubstring("rootless Docker"), Not(ContainSubstring("AppArmor"))), "%v", err)
}

func alive(pid int) func() bool {
	return func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err == nil && !strings.Contains(string(stat), ") Z ")
	}
}

func TestDemuxChild(t *testing.T) {
	g := NewWithT(t)
	a := startAgent(t, RoleHost)
	ctx := deadline(t, longest)
	socket := filepath.Join(t.TempDir(), "d.sock")

	_, err := a.Demux().Status(ctx)
	g.Expect(err).To(MatchError(And(ContainSubstring("does it run"), ContainSubstring("vlandemux"))))
	g.Expect(a.StopDemux(ctx, "TERM")).To(MatchError(ContainSubstring("does not run")))

	err = a.StartDemux(ctx, []string{"--fail"})
	g.Expect(err).To(MatchError(And(ContainSubstring("exit status 3"), ContainSubstring("no such interface"), ContainSubstring("what to do: see `ip link`"))))

	starting, cancel := context.WithCancel(ctx)
	said, hanging := filepath.Join(t.TempDir(), "said"), make(chan error, 1)
	go func() { hanging <- a.StartDemux(starting, []string{"--hang", "--said", said}) }()
	g.Eventually(said).Should(BeAnExistingFile())
	cancel()
	g.Eventually(hanging).Should(Receive(MatchError(context.Canceled)))
	g.Expect(a.DemuxLog(ctx)).To(ContainSubstring("not ready"))

	g.Expect(a.StartDemux(ctx, []string{"--socket=" + socket})).To(Succeed())
	status, err := a.Demux().Status(ctx)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(status.Version).To(Equal("fake"))
	g.Expect(status.PID).To(Satisfy(func(pid int) bool { return alive(pid)() }))
	g.Expect(a.StartDemux(ctx, nil)).To(MatchError(ContainSubstring("runs already")))
	g.Expect(a.StopDemux(ctx, "HUP")).To(MatchError(ContainSubstring("unknown signal")))

	// A stream through the proxy: its first line must arrive though the stream goes on.
	watching, stopWatching := context.WithCancel(ctx)
	subscribed, watched := make(chan struct{}), make(chan error, 1)
	go func() { watched <- a.Demux().Watch(watching, func() { close(subscribed) }, nil) }()
	g.Eventually(subscribed).Should(BeClosed())
	stopWatching()
	g.Eventually(watched).Should(Receive(MatchError(context.Canceled)))

	g.Expect(a.StopDemux(ctx, "TERM")).To(Succeed())
	g.Expect(alive(status.PID)()).To(BeFalse())

	g.Expect(a.StartDemux(ctx, []string{"--socket", socket, "--bad-end"})).To(Succeed())
	second, err := a.Demux().Status(ctx)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(second.PID).NotTo(Equal(status.PID), "the proxy asks the new one")
	g.Expect(a.StopDemux(ctx, "INT")).To(MatchError(And(ContainSubstring("exit status 5"), ContainSubstring("frobnicator"))))

	g.Expect(a.StartDemux(ctx, []string{"--socket", socket})).To(Succeed())
	g.Expect(a.StopDemux(ctx, "KILL")).To(Succeed())

	g.Expect(a.StartDemux(ctx, []string{"--socket", socket})).To(Succeed())
	third, err := a.Demux().Status(ctx)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(a.Demux().Unassign(ctx, "02:00:00:00:00:01")).NotTo(Succeed(), "the fake dies of it")
	g.Eventually(alive(third.PID)).Should(BeFalse())
	g.Expect(a.StopDemux(ctx, "TERM")).To(MatchError(ContainSubstring("exit status 4")), "nobody had asked it to end")
	g.Expect(a.DemuxLog(ctx)).To(ContainSubstring("no such interface"), "the log goes back to the first run")
}

func TestADemuxThatIsNeverReady(t *testing.T) {
	g := NewWithT(t)
	t.Setenv(roleVariable, string(RoleHost))
	h := &host{program: "/proc/self/exe", demux: demuxChild{start: 10 * time.Second}}
	_, err := h.startDemux(deadline(t, longest), []string{"--hang"})
	g.Expect(err).To(MatchError(And(ContainSubstring("10s passed before"), ContainSubstring("not ready: already waiting"))))
	g.Expect(h.demux.processes()).To(BeEmpty())
}

func TestADemuxThatNeverAnswers(t *testing.T) {
	g := NewWithT(t)
	d := &demuxChild{start: 50 * time.Millisecond, socket: filepath.Join(t.TempDir(), "d.sock")}
	silent, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", d.socket)
	g.Expect(err).NotTo(HaveOccurred())
	defer silent.Close()
	proxy := httptest.NewServer(d.proxy())
	defer proxy.Close()
	_, err = control.NewClient(http.DefaultTransport, proxy.URL+"/demux").Status(deadline(t, longest))
	g.Expect(err).To(MatchError(And(ContainSubstring(d.socket), ContainSubstring("timeout"), ContainSubstring("does it run"))))
}

func TestLastWordsAreForPeople(t *testing.T) {
	g := NewWithT(t)
	log := tail.New(1 << 20)
	fmt.Fprintf(log, "%s\n\x00\xff\x1b[31mno such\tinterface ☃\n", strings.Repeat("x", 1<<19))
	words := lastWords(log)
	g.Expect(words).To(HavePrefix("[earlier output was dropped]\nxxx"))
	g.Expect(words).To(HaveSuffix("\n���[31mno such\tinterface ☃\n"))
	g.Expect(len(words)).To(BeNumerically("<", 10<<10))
}

func TestNoDemuxOutlivesItsAgent(t *testing.T) {
	for name, end := range map[string]func(*agentProcess) error{
		"killed":           func(a *agentProcess) error { return a.cmd.Process.Kill() },
		"its stream ended": func(a *agentProcess) error { return a.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			a := startAgent(t, RoleHost)
			ctx := deadline(t, longest)
			g.Expect(a.StartDemux(ctx, []string{"--socket", filepath.Join(t.TempDir(), "d.sock")})).To(Succeed())
			status, err := a.Demux().Status(ctx)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(end(a)).To(Succeed())
			g.Eventually(a.exited).Should(BeClosed())
			g.Eventually(alive(status.PID)).Should(BeFalse())
		})
	}
}

func TestAResetTellsOfADemuxThatCannotDetach(t *testing.T) {
	_, err := startAgent(t, RoleHost).Reset(deadline(t, longest))
	NewWithT(t).Expect(err).To(MatchError(And(ContainSubstring("vlandemux detach: exit status 7"), ContainSubstring(`argv ["detach"]`))))
}

func TestKernelHealth(t *testing.T) {
	g := NewWithT(t)
	a := startAgent(t, RoleHost)
	ctx := deadline(t, longest)
	health, err := a.Kernel(ctx)
	g.Expect(err).NotTo(HaveOccurred())
	tainted, err := os.ReadFile("/proc/sys/kernel/tainted")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(strconv.FormatUint(health.Tainted, 10)).To(Equal(strings.TrimSpace(string(tainted))))
}

// An agent that is process 1 of its PID namespace adopts orphans, and leaves none of them a zombie.
func TestReapingOrphans(t *testing.T) {
	cmd := exec.CommandContext(deadline(t, longest), "/proc/self/exe")
	cmd.Env = append(os.Environ(), roleVariable+"="+reaperRole)
	cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	out, err := cmd.CombinedOutput()
	NewWithT(t).Expect(err).NotTo(HaveOccurred(), "an orphan that nobody waits for stays a zombie: %s", out)
}
