package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// processes starts the agent's own children and, as process 1, reaps everyone else's. The two must not meet: a reaper that waits for any
// child would take the exit status that exec.Cmd waits for. So each own child is in the set before a reaper can see it.
type processes struct {
	mu  sync.Mutex
	own map[int]struct{} // guarded by mu, held while a child is started
}

func newProcesses() *processes { return &processes{own: make(map[int]struct{})} }

// child is a process the agent has started.
type child struct {
	PID     int
	process *os.Process
	done    chan struct{}
	err     error // of Wait; written before done is closed
}

// signal sends sig; to a child that has ended it does nothing. os.Process keeps it from hitting another process that got the same ID.
func (c *child) signal(sig unix.Signal) error {
	if err := c.process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("sending %s to process %d: %w", unix.SignalName(sig), c.PID, err)
	}
	return nil
}

// start runs cmd. The child is killed when the agent ends, however it ends (PR_SET_PDEATHSIG). The kernel ties that signal to the death of
// the thread that started the child, so one locked goroutine starts it and stays until it has ended.
func (p *processes) start(cmd *exec.Cmd) (*child, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &unix.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = unix.SIGKILL
	c := &child{done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		defer close(c.done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		p.mu.Lock()
		err := cmd.Start()
		if err == nil {
			c.PID, c.process = cmd.Process.Pid, cmd.Process
			p.own[c.PID] = struct{}{}
		}
		p.mu.Unlock()
		started <- err
		if err != nil {
			return
		}
		c.err = cmd.Wait()
		p.mu.Lock()
		delete(p.own, c.PID)
		p.mu.Unlock()
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", cmd.Args[0], err)
	}
	return c, nil
}

// list is the process IDs of the own children that run.
func (p *processes) list() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Keys(p.own))
}

// reap waits for the orphans that the kernel makes children of process 1, until ctx ends.
func (p *processes) reap(ctx context.Context, log *slog.Logger) {
	exits := make(chan os.Signal, 1) // one is enough: each round looks at every child
	signal.Notify(exits, unix.SIGCHLD)
	defer signal.Stop(exits)
	for {
		if err := p.reapOrphans(); err != nil {
			log.Warn("reaping orphans", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-exits:
		}
	}
}

// reapOrphans takes the exit status of each ended child that this agent has not started.
func (p *processes) reapOrphans() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	pids, err := childrenOf(os.Getpid())
	if err != nil {
		return err
	}
	var errs []error
	for _, pid := range pids {
		if _, own := p.own[pid]; own {
			continue
		}
		if _, err := unix.Wait4(pid, nil, unix.WNOHANG, nil); err != nil && !errors.Is(err, unix.ECHILD) {
			errs = append(errs, fmt.Errorf("waiting for process %d: %w", pid, err))
		}
	}
	return errors.Join(errs...)
}

// childrenOf lists the children of parent, those that have ended and that nobody waited for included.
func childrenOf(parent int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	var children []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + entry.Name() + "/stat")
		if err != nil {
			continue // it ended meanwhile
		}
		// "PID (name) state parent …": the name may hold anything, the last parenthesis ends it.
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) > 1 && string(fields[1]) == strconv.Itoa(parent) {
			children = append(children, pid)
		}
	}
	return children, nil
}
