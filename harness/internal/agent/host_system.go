package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// KernelHealth is the kernel's own opinion of its state. The first two only grow while the machine is up.
type KernelHealth struct {
	WarnCount uint64 `json:"warn_count"` // /sys/kernel/warn_count
	OopsCount uint64 `json:"oops_count"` // /sys/kernel/oops_count
	Tainted   uint64 `json:"tainted"`    // /proc/sys/kernel/tainted, a bit set
}

// ExecReport is what a program did that ran to its end.
type ExecReport struct {
	Stdout string `json:"stdout"`
	Stderr string `json:"stderr"`
	Exit   int    `json:"exit"` // its status; a signal is 128 plus its number
}

func (h *host) systemRoutes(mux *http.ServeMux) {
	handle(mux, "/kernel", func(context.Context, Nothing) (KernelHealth, error) { return readKernelHealth() })
	handle(mux, "/clock", func(context.Context, Nothing) (int64, error) { return time.Now().UnixNano(), nil })
	handle(mux, "/run", h.run)
}

// Clock is the time of the taps, in nanoseconds since 1970. Host only.
func (c *Client) Clock(ctx context.Context) (int64, error) {
	return call[Nothing, int64](ctx, c, "/clock", Nothing{})
}

// Kernel reads the kernel's warning counters, to be compared before and after. Host only.
func (c *Client) Kernel(ctx context.Context) (KernelHealth, error) {
	return call[Nothing, KernelHealth](ctx, c, "/kernel", Nothing{})
}

// Run runs `vlandemux …` in the host container as an operator types it, argv[0] being "vlandemux". A status other than 0 is no error.
// When ctx ends it is killed; the report then holds what it wrote until that.
func (c *Client) Run(ctx context.Context, argv []string) (ExecReport, error) {
	return call[[]string, ExecReport](ctx, c, "/run", argv)
}

func readKernelHealth() (KernelHealth, error) {
	var health KernelHealth
	var errs []error
	for path, value := range map[string]*uint64{
		"/sys/kernel/warn_count":   &health.WarnCount,
		"/sys/kernel/oops_count":   &health.OopsCount,
		"/proc/sys/kernel/tainted": &health.Tainted,
	} {
		text, err := os.ReadFile(path)
		if err == nil {
			*value, err = strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("reading the kernel's health from %s: %w", path, err))
		}
	}
	return health, errors.Join(errs...)
}

// runOutput bounds what is kept of each of a program's two outputs, octets.
const runOutput = 4 << 20

func (h *host) run(ctx context.Context, argv []string) (ExecReport, error) {
	if len(argv) == 0 || argv[0] != demuxName {
		return ExecReport{}, fmt.Errorf("running %q: the program to run is %s; write its command line, %[2]s first", argv, demuxName)
	}
	stdout, stderr := newRing(runOutput), newRing(runOutput)
	cmd := exec.CommandContext(ctx, h.program, argv[1:]...)
	cmd.Args[0] = demuxName
	cmd.Stdin = bytes.NewReader(nil)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	running, err := h.processes.start(cmd)
	if err != nil {
		return ExecReport{}, err
	}
	<-running.done
	report := ExecReport{Stdout: stdout.String(), Stderr: stderr.String(), Exit: exitStatus(cmd)}
	if ctx.Err() != nil && !cmd.ProcessState.Exited() {
		return report, fmt.Errorf("running %s: %w; it was killed", strings.Join(argv, " "), context.Cause(ctx))
	}
	return report, nil
}

// exitStatus is a shell's view of how cmd ended.
func exitStatus(cmd *exec.Cmd) int {
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return cmd.ProcessState.ExitCode()
}
