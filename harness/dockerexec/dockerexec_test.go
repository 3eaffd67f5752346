package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness/internal/engine"
)

// programs are dockerexec and its guests, compiled.
type programs struct {
	err                      error
	dockerexec, guest, raced string
}

// compiled makes them once.
var compiled = sync.OnceValue(func() (p programs) { //nolint:gochecknoglobals // written once, by itself
	folder, err := os.MkdirTemp("", "dockerexec-test-")
	if err != nil {
		return programs{err: err}
	}
	p = programs{dockerexec: filepath.Join(folder, "dockerexec"), guest: filepath.Join(folder, "guest.test"), raced: filepath.Join(folder, "raced.test")}
	for _, args := range [][]string{
		{"build", "-o", p.dockerexec, "."},
		{"test", "-c", "-o", p.guest, "./testdata/guest"},
		{"test", "-c", "-race", "-o", p.raced, "./testdata/guest"},
	} {
		var output bytes.Buffer
		cmd := exec.CommandContext(context.Background(), "go", args...)
		cmd.Stderr = &output
		if err := cmd.Run(); err != nil {
			return programs{err: &os.PathError{Op: "go " + strings.Join(args, " "), Path: output.String(), Err: err}}
		}
	}
	return p
})

func TestMain(m *testing.M) {
	status := m.Run()
	if p := compiled(); p.dockerexec != "" {
		_ = os.RemoveAll(filepath.Dir(p.dockerexec))
	}
	os.Exit(status)
}

func get(t *testing.T) programs {
	t.Helper()
	p := compiled()
	NewWithT(t).Expect(p.err).NotTo(HaveOccurred())
	return p
}

// command runs a guest as go test would: in its package's folder.
func command(t *testing.T, program string, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), get(t).dockerexec, append([]string{program}, args...)...)
	cmd.Dir = "testdata/guest"
	cmd.Env = append(os.Environ(), "VLANDEMUX_GUEST=passed on", "UNRELATED_GUEST=1")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	return cmd, &output
}

const harmless = "Privileges|Filesystem|Kernel|Environment"

func TestGuestHasWhatItNeeds(t *testing.T) {
	for name, program := range map[string]string{"static": get(t).guest, "race detector": get(t).raced} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			cmd, output := command(t, program, "-test.v", "-test.run", harmless)
			g.Expect(cmd.Run()).To(Succeed(), output.String)
			g.Expect(strings.Count(output.String(), "--- PASS")).To(Equal(4), output.String)
		})
	}
}

func TestExitStatusComesBack(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	cmd, output := command(t, get(t).guest, "-test.run", "Failure")
	g.Expect(cmd.Run()).NotTo(Succeed())
	g.Expect(cmd.ProcessState.ExitCode()).To(Equal(1))
	g.Expect(output.String()).To(ContainSubstring("failing as asked"))
	g.Expect(output.String()).NotTo(ContainSubstring("dockerexec:"))
}

func TestProgramsThatCannotRunAreNamed(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	cmd, output := command(t, "guest_test.go")
	g.Expect(cmd.Run()).NotTo(Succeed())
	g.Expect(cmd.ProcessState.ExitCode()).To(Equal(statusFailed))
	g.Expect(output.String()).To(And(ContainSubstring("guest_test.go"), ContainSubstring("GOOS=linux")))
}

func TestSignalsLeaveNothing(t *testing.T) {
	tests := []struct {
		signal syscall.Signal
		status int
		says   string
	}{
		{syscall.SIGINT, 128 + 2, ""}, // a test program has no handler: it dies of it
		{syscall.SIGTERM, 128 + 15, ""},
		{syscall.SIGQUIT, 2, "goroutine 1"}, // go test sends it to a program that hangs, for the stacks
		{syscall.SIGKILL, -1, ""},
	}
	for _, test := range tests {
		t.Run(test.signal.String(), func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			e, err := engine.Connect(t.Context(), "")
			g.Expect(err).NotTo(HaveOccurred())
			defer e.Close() //nolint:errcheck // a test's

			// The container is known by its program's name.
			program := filepath.Join(t.TempDir(), "guest"+strings.ReplaceAll(test.signal.String(), " ", "")+".test")
			g.Expect(os.Link(get(t).guest, program)).To(Succeed())
			cmd, output := command(t, program, "-test.run", "Forever")
			stdout, err := startReading(cmd)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(stdout.until("guest is waiting")).To(Succeed(), output.String)
			ours := func() ([]string, error) { return containersOf(t.Context(), e, program) }
			g.Expect(ours()).To(HaveLen(1))

			g.Expect(cmd.Process.Signal(test.signal)).To(Succeed())
			_ = stdout.drain()
			g.Expect(cmd.Wait()).NotTo(Succeed())
			g.Expect(cmd.ProcessState.ExitCode()).To(Equal(test.status), output.String)
			g.Expect(output.String() + stdout.seen.String()).To(ContainSubstring(test.says))
			g.Eventually(ours).WithTimeout(10 * time.Second).WithPolling(20 * time.Millisecond).Should(BeEmpty())
		})
	}
}

// containersOf names the containers that run a program.
func containersOf(ctx context.Context, e *engine.Engine, program string) ([]string, error) {
	names, err := e.Leftovers(ctx, engine.Label+"="+string(engine.KindTest))
	var ours []string
	for _, name := range names {
		if strings.HasPrefix(name, containerName(program, "")) {
			ours = append(ours, name)
		}
	}
	return ours, err
}
