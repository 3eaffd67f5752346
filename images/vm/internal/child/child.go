// Package child starts processes that do not outlive this one, however this one ends, and ends this one with its parent.
package child

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Start starts cmd in a process group of its own and returns a channel that carries cmd.Wait's result.
// The kernel kills the process when this program dies, SIGKILL included.
func Start(cmd *exec.Cmd) (<-chan error, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	// Out of the terminal's foreground group: Ctrl-C is for us to handle.
	cmd.SysProcAttr.Setpgid = true

	started := make(chan error, 1)
	ended := make(chan error, 1)
	go func() {
		// The death signal follows the thread that forked, not the process: keep that thread as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		ended <- cmd.Wait()
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return ended, nil
}

// Output runs a program in dir ("" for the current one) with extra environment and returns its standard output. An
// error holds what the program said on its standard error.
func Output(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(), env...)
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	ended, err := Start(cmd)
	if err == nil {
		err = <-ended
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		said := strings.TrimSpace(stderr.String())
		if said != "" {
			said = ":\n" + said
		}
		return "", fmt.Errorf("running %s %s: %w%s", name, strings.Join(args, " "), err, said)
	}
	return stdout.String(), nil
}
