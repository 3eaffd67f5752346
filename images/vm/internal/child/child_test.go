package child

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"
)

// roleVariable makes this test binary one of the processes below.
const roleVariable = "CHILD_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "":
		os.Exit(m.Run())
	case "starter": // by Start, with our standard output
		cmd := exec.Command("sh", "-c", upForEver)
		cmd.Stdout = os.Stdout
		if ended, err := Start(cmd); err == nil {
			<-ended
		}
	case "make": // starts the next one as any program would
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), roleVariable+"=made")
		cmd.Stdout = os.Stdout
		_ = cmd.Run()
	case "made":
		DieWithParent("go", "make")
		_ = unix.Exec("/bin/sh", []string{"sh", "-c", upForEver}, os.Environ()) // which keeps what the kernel was told
	}
	os.Exit(3) // none of them comes so far
}

// upForEver is a command that says that it runs and holds its standard output until it is killed.
const upForEver = "echo up; exec sleep 600"

func TestAProcessDiesWithTheOneThatStartedIt(t *testing.T) {
	self, err := os.Executable()
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	diesWith(t, self, "starter")
}

func TestAProcessDiesWithMake(t *testing.T) {
	g := NewWithT(t)
	program, err := os.ReadFile("/proc/self/exe")
	g.Expect(err).NotTo(HaveOccurred())
	starter := filepath.Join(t.TempDir(), "make")
	g.Expect(os.WriteFile(starter, program, 0o700)).To(Succeed())
	diesWith(t, starter, "make")
}

// diesWith kills the program, this test binary in one of its roles, and demands that the process it had started is gone.
func diesWith(t *testing.T, program, role string) {
	t.Helper()
	g := NewWithT(t)
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	output, err := cmd.StdoutPipe()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(cmd.Start()).To(Succeed())
	_, err = io.ReadFull(output, make([]byte, len("up\n")))
	g.Expect(err).NotTo(HaveOccurred())

	g.Expect(cmd.Process.Kill()).To(Succeed())
	closed := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, output)
		close(closed)
	}()
	g.Eventually(closed).WithTimeout(10*time.Second).Should(BeClosed(), "the output is still held: the process lives")
	_ = cmd.Wait() // killed
}

func TestOutput(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	g.Expect(Output(t.Context(), dir, []string{"X=1"}, "sh", "-c", "echo $X; pwd")).To(Equal("1\n" + dir + "\n"))
	_, err := Output(t.Context(), "", nil, "sh", "-c", "echo why >&2; exit 3")
	g.Expect(err).To(MatchError(And(ContainSubstring("exit status 3"), ContainSubstring("why"))))
	_, err = Output(t.Context(), "", nil, "no-such-program")
	g.Expect(err).To(MatchError(exec.ErrNotFound))
}

func TestOutputCanBeGivenUp(t *testing.T) {
	g := NewWithT(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := Output(ctx, "", nil, "sleep", "600")
	g.Expect(err).To(MatchError(context.DeadlineExceeded))
}
