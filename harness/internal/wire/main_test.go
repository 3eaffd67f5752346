package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"
)

// The tests need the host container's capabilities. The test binary runs
// itself again in a network namespace of its own, which is the labs' host, and
// as stand-ins for containers: processes in further namespaces that wait for
// the end of their standard input.
const (
	roleEnv      = "VLANDEMUX_WIRE_TEST"
	roleTests    = "tests"
	roleStandIn  = "stand-in"
	switchEnv    = "VLANDEMUX_SWITCH" // the switches to test, with commas between, or "all"; those that work here if unset
	standInReady = "ready\n"
)

func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case roleTests:
		os.Exit(m.Run())
	case roleStandIn:
		fmt.Print(standInReady)
		io.Copy(io.Discard, os.Stdin) //nolint:errcheck // the end is all that matters
	default:
		cmd := inNewNamespace(roleTests, os.Args[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		err := cmd.Run()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			os.Exit(exit.ExitCode())
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "running the tests in a network namespace of their own (needs root):", err)
			os.Exit(1)
		}
	}
}

func inNewNamespace(role string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// standIn is a process in a network namespace of its own.
type standIn struct {
	pid  int
	exit func()
}

func newStandIn(t *testing.T) standIn {
	t.Helper()
	g := NewWithT(t)
	cmd := inNewNamespace(roleStandIn)
	stdin, err := cmd.StdinPipe()
	g.Expect(err).NotTo(HaveOccurred())
	stdout, err := cmd.StdoutPipe()
	g.Expect(err).NotTo(HaveOccurred())
	// Not Pdeathsig: it counts the death of the thread that forked.
	cmd.SysProcAttr.Pdeathsig = 0
	g.Expect(cmd.Start()).To(Succeed())
	ended := false
	s := standIn{pid: cmd.Process.Pid, exit: func() {
		if !ended {
			ended = true
			stdin.Close()
			cmd.Wait()
		}
	}}
	t.Cleanup(s.exit)
	said := make([]byte, len(standInReady))
	_, err = io.ReadFull(stdout, said)
	g.Expect(err).NotTo(HaveOccurred())
	return s
}

// onEachSwitch runs a test on each of the switches to be tested.
func onEachSwitch(t *testing.T, test func(t *testing.T, kind string)) {
	t.Helper()
	g := NewWithT(t)
	var kinds []string
	if env := os.Getenv(switchEnv); env == "all" {
		kinds = SwitchKinds()
	} else if env != "" {
		kinds = strings.Split(env, ",")
	} else {
		for _, kind := range SwitchKinds() {
			missing, err := MissingSwitch(context.Background(), kind)
			g.Expect(err).NotTo(HaveOccurred())
			if missing == "" {
				kinds = append(kinds, kind)
			}
		}
		g.Expect(kinds).NotTo(BeEmpty(), "no switch works here")
	}
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) { test(t, kind) })
	}
}
