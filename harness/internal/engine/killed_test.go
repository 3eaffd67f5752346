package engine_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness/internal/engine"
)

// victim is the variable that makes this test binary a client to be killed; its value is the label of its containers.
const victim = "VLANDEMUX_ENGINE_VICTIM"

// prey is a process of this test binary that runs one test as the victim.
type prey struct {
	*exec.Cmd
	stdout *bufio.Scanner
}

func (l *lab) startPrey(t *testing.T) *prey {
	t.Helper()
	g := NewWithT(t)
	executable, err := os.Executable()
	g.Expect(err).NotTo(HaveOccurred())
	p := &prey{Cmd: exec.CommandContext(t.Context(), executable, "-test.run=^"+t.Name()+"$", "-test.v")}
	p.Env = append(os.Environ(), victim+"="+l.label)
	stdout, err := p.StdoutPipe()
	g.Expect(err).NotTo(HaveOccurred())
	p.stdout = bufio.NewScanner(stdout)
	g.Expect(p.Start()).To(Succeed())
	return p
}

// says returns once the process has printed the line.
func (p *prey) says(t *testing.T, line string) {
	t.Helper()
	for p.stdout.Scan() {
		if p.stdout.Text() == line {
			return
		}
	}
	t.Fatalf("the process ended without a word of %q", line)
}

// goneAfterKilling kills the process and demands that its containers go at once, or on a busy machine soon: before the agent
// of a container gives up, which it does after 30 s.
func (l *lab) goneAfterKilling(t *testing.T, p *prey) {
	t.Helper()
	g := NewWithT(t)
	g.Expect(p.Process.Kill()).To(Succeed())
	g.Expect(p.Wait()).NotTo(Succeed())
	g.Eventually(func() ([]string, error) { return l.Leftovers(t.Context(), l.label) }).
		WithTimeout(10 * time.Second).WithPolling(20 * time.Millisecond).Should(BeEmpty())
}

func TestKilledClientLeavesNoContainer(t *testing.T) {
	if label := os.Getenv(victim); label != "" {
		l := newLab(t)
		l.label = label
		for _, kind := range []engine.Kind{engine.KindHost, engine.KindClient, engine.KindWorker} {
			l.start(t, l.spec(kind))
		}
		fmt.Println("three are up")
		<-t.Context().Done()
		return
	}
	l := newLab(t)
	p := l.startPrey(t)
	p.says(t, "three are up")
	NewWithT(t).Expect(l.Leftovers(t.Context(), l.label)).To(HaveLen(3))
	l.goneAfterKilling(t, p)
}

// A container that is created and not started yet has no program that could end it.
func TestClientKilledWhileItStartsAContainerLeavesNone(t *testing.T) {
	if label := os.Getenv(victim); label != "" {
		l := newLab(t)
		l.label = label
		fmt.Println("starting")
		l.start(t, l.spec(engine.KindClient))
		<-t.Context().Done()
		return
	}
	l := newLab(t) // looks again at the very end, for what the engine may still have been creating
	// At every stage of a start that takes some 200 ms, the first 30 of them before the container runs.
	for _, milliseconds := range []int{0, 3, 6, 9, 12, 15, 18, 21, 25, 30, 40, 60, 90, 130, 180, 240} {
		p := l.startPrey(t)
		p.says(t, "starting")
		time.Sleep(time.Duration(milliseconds) * time.Millisecond) // waits for nothing: when the process dies is what is tried
		l.goneAfterKilling(t, p)
	}
}
