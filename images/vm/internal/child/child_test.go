package child

import (
	"context"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// helperVariable makes this test binary the parent that gets killed.
const helperVariable = "CHILD_TEST_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(helperVariable) != "" {
		parent()
	}
	os.Exit(m.Run())
}

// parent starts a process that holds our standard output for ever, says so, and waits to be killed.
func parent() {
	cmd := exec.Command("sh", "-c", "echo up; exec sleep 600")
	cmd.Stdout = os.Stdout
	ended, err := Start(cmd)
	if err != nil {
		os.Exit(3)
	}
	<-ended
}

func TestAProcessDiesWithTheOneThatStartedIt(t *testing.T) {
	g := NewWithT(t)
	self, err := os.Executable()
	g.Expect(err).NotTo(HaveOccurred())
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), helperVariable+"=1")
	output, err := cmd.StdoutPipe()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(cmd.Start()).To(Succeed())
	up := make([]byte, 3)
	_, err = io.ReadFull(output, up)
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
