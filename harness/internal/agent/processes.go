package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"

	"golang.org/x/sys/unix"
)

// child is a process the agent has started.
type child struct {
	PID     int
	process *os.Process
	done    chan struct{}
	err     error // of Wait; written before done is closed
}

// startChild runs cmd. The child is killed when the agent ends, however it ends (PR_SET_PDEATHSIG). The kernel ties that signal to the death of
// the thread that started the child, so one locked goroutine starts it and stays until it has ended.
func startChild(cmd *exec.Cmd) (*child, error) {
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	c := &child{done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		defer close(c.done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			c.PID, c.process = cmd.Process.Pid, cmd.Process
		}
		started <- err
		if err == nil {
			c.err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", cmd.Args[0], err)
	}
	return c, nil
}

// signal sends sig; to a child that has ended it does nothing. os.Process keeps it from hitting another process that got the same ID.
func (c *child) signal(sig unix.Signal) error {
	if err := c.process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("sending %s to process %d: %w", unix.SignalName(sig), c.PID, err)
	}
	return nil
}

// reap waits for the orphans that the kernel makes children of process 1, until ctx ends. It would take the exit status of a child as well:
// the host's agent, which alone has any, is not process 1 of its PID namespace.
func reap(ctx context.Context) {
	exits := make(chan os.Signal, 1) // one is enough: each round looks for every child that has ended
	signal.Notify(exits, unix.SIGCHLD)
	defer signal.Stop(exits)
	for {
		for pid := 1; pid > 0; {
			pid, _ = unix.Wait4(-1, nil, unix.WNOHANG, nil) // without a child, or one that has ended, there is nothing to do
		}
		select {
		case <-ctx.Done():
			return
		case <-exits:
		}
	}
}
