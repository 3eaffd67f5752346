package harness_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness"
	"github.com/vlandemux/vlandemux/harness/internal/engine"
)

// imageLab is a lab whose worker is a DHCP server and whose client runs a command of the same image.
func imageLab(ctx context.Context, g Gomega, command ...string) (*harness.Harness, *harness.Lab) {
	h, err := harness.Connect(ctx, harness.Options{Guard: harness.StandGuard()})
	g.Expect(err).NotTo(HaveOccurred())
	t := pair()
	t.Clients[0].Addresses = nil
	t.Clients[0].Image = &harness.Image{Name: h.Images().DHCP, Command: command}
	t.Workers[0].Image = &harness.Image{Name: h.Images().DHCP, Command: []string{"server", "192.168.1.2", "192.168.1.77"}}
	lab, err := h.Start(ctx, t, 0)
	g.Expect(err).NotTo(HaveOccurred())
	return h, lab
}

func TestProgramsOfAnImageTalkAcrossTheLab(t *testing.T) {
	g := NewWithT(t)
	h, lab := imageLab(t.Context(), g, "idle")
	window, err := lab.OpenWindow(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(func() (string, error) { return lab.Logs("w0") }).WithTimeout(time.Minute).Should(ContainSubstring("192.168.1.77"))
	output, status, err := lab.Exec(t.Context(), "c0", "/dhcp", "client")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(output).To(Equal("lease of 192.168.1.77 obtained from 192.168.1.2\n"))
	g.Expect(status).To(BeZero())
	output, status, err = lab.Exec(t.Context(), "c0", "/dhcp", "nonsense")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(output).To(HavePrefix("dhcp: usage:"))
	g.Expect(status).To(Equal(1))
	output, status, err = lab.Exec(t.Context(), "host", "/vlandemux", "status")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(output).To(ContainSubstring("02:00:00:00:00:01"), "where the host's own program sees the client")
	g.Expect(status).To(BeZero())
	_, _, err = lab.Exec(t.Context(), "c7", "/dhcp")
	g.Expect(err).To(MatchError(ContainSubstring(`no node called "c7"`)))
	verdict, err := window.Close(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(verdict.Err()).NotTo(HaveOccurred())
	g.Expect(verdict.Frames).To(BeNumerically(">=", 4), "discover, offer, request, acknowledgement")
	g.Expect(lab.Close()).To(Succeed())
	g.Expect(h.Close()).To(Succeed())
}

// /etc is there on every machine that a Docker engine runs on.
func TestAnImageHasItsEnvironmentAndMounts(t *testing.T) {
	g := NewWithT(t)
	topology := pair()
	topology.Clients[0].Image = &harness.Image{
		Name: busybox(t), Command: []string{"/bin/busybox", "sleep", "3600"}, Environment: []string{"SAID=in the environment"},
		Mounts: []harness.Mount{{Source: "/etc", Target: "/there"}},
	}
	lab, err := harness.Start(t.Context(), topology)
	g.Expect(err).NotTo(HaveOccurred())
	output, status, err := lab.Exec(t.Context(), "c0", "/bin/busybox", "sh", "-c", `echo "$SAID"; busybox grep /there /proc/mounts; busybox grep Seccomp: /proc/self/status; test -f /there/passwd`)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(output).To(MatchRegexp(`^in the environment\n\S+ /there \S+ ro,.*\nSeccomp:\t2\n$`), "with the engine's filter of system calls")
	g.Expect(status).To(BeZero(), "a file that is there")
	g.Expect(lab.Close()).To(Succeed())
}

func TestAnImageThatFailsIsAnErrorOfItsLab(t *testing.T) {
	g := NewWithT(t)
	h, lab := imageLab(t.Context(), g, "nonsense")
	window, err := lab.OpenWindow(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(func() (string, error) { return lab.Logs("c0") }).WithTimeout(time.Minute).Should(ContainSubstring("usage"))
	_, err = window.Close(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	// It has ended, but the engine may take a second more to remove its container.
	g.Eventually(func() error { _, _, err := lab.Exec(t.Context(), "c0", "/dhcp"); return err }).WithTimeout(time.Minute).Should(HaveOccurred())
	g.Expect(lab.Close()).To(MatchError(And(ContainSubstring("image of c0 ended with status 1"), ContainSubstring("usage: dhcp"))))
	g.Expect(h.Close()).To(Succeed())
}

// The image's program does not look at its standard input: it ends with the node it is in.
func TestImagesEndWithAKilledProcess(t *testing.T) {
	const victim = "VLANDEMUX_IMAGE_VICTIM"
	g := NewWithT(t)
	if os.Getenv(victim) != "" {
		_, lab := imageLab(t.Context(), g, "idle")
		_, err := lab.OpenWindow(t.Context())
		g.Expect(err).NotTo(HaveOccurred())
		_, err = os.Stdout.WriteString("\nup " + lab.Client("c0").Container + "\n")
		g.Expect(err).NotTo(HaveOccurred())
		select {}
	}
	program, err := os.Executable()
	g.Expect(err).NotTo(HaveOccurred())
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), victim+"=1")
	stdout, err := cmd.StdoutPipe()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(cmd.Start()).To(Succeed())
	scan := bufio.NewScanner(stdout)
	for !strings.HasPrefix(scan.Text(), "up ") {
		g.Expect(scan.Scan()).To(BeTrue(), "the process ended before its lab was up")
	}
	run, _, _ := strings.Cut(strings.TrimPrefix(scan.Text(), "up vlandemux-"), "-")
	e, err := engine.Connect(t.Context(), "")
	g.Expect(err).NotTo(HaveOccurred())
	left := func() ([]string, error) { return e.Leftovers(t.Context(), harness.RunLabel+"="+run) }
	g.Expect(left()).To(HaveLen(5), "host, client, worker and two images")
	g.Expect(cmd.Process.Kill()).To(Succeed())
	g.Expect(cmd.Wait()).NotTo(Succeed())
	g.Eventually(left).WithTimeout(10 * time.Second).WithPolling(20 * time.Millisecond).Should(BeEmpty())
	g.Expect(e.Close()).To(Succeed())
}
