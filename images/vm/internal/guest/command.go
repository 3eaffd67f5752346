package guest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/vlandemux/vlandemux/images/vm/internal/protocol"
)

// outputPatience is how long the output may stay open after the command has ended: something it started in the background
// may hold it for ever.
const outputPatience = 5 * time.Second

// command is the process the machine is there for.
type command struct {
	pid    int
	ended  <-chan syscall.WaitStatus
	copied chan struct{} // closed when both outputs have ended
}

// startCommand starts what the configuration says, its output going to the runner.
func startCommand(config protocol.Config, processes *reaper, line *port) (*command, error) {
	path, err := findCommand(config)
	if err != nil {
		return nil, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	files, outputs := []uintptr{null.Fd()}, []*os.File{}
	for range 2 {
		output, end, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		defer end.Close()
		files, outputs = append(files, end.Fd()), append(outputs, output)
	}
	c := &command{copied: make(chan struct{})}
	c.pid, c.ended, err = processes.start(path, config.Args, &syscall.ProcAttr{
		Dir:   config.Dir,
		Env:   config.Env,
		Files: files,
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, fmt.Errorf("in %s: %w", config.Dir, err)
	}
	var copies sync.WaitGroup
	for i, kind := range []protocol.Kind{protocol.Stdout, protocol.Stderr} {
		copies.Go(func() { _, _ = io.Copy(writer{line, kind}, outputs[i]) })
	}
	go func() {
		copies.Wait()
		close(c.copied)
	}()
	return c, nil
}

// wait returns how the command ended, once its output has been passed on.
func (c *command) wait() protocol.Message {
	status := <-c.ended
	select {
	case <-c.copied:
	case <-time.After(outputPatience):
	}
	if status.Signaled() {
		return protocol.Message{Kind: protocol.Exited, Signal: int(status.Signal())}
	}
	return protocol.Message{Kind: protocol.Exited, Status: status.ExitStatus()}
}

// signal sends a signal to the command and what it started, those apart that have left its process group.
func (c *command) signal(number int) { _ = syscall.Kill(-c.pid, syscall.Signal(number)) }

func findCommand(config protocol.Config) (string, error) {
	name := config.Args[0]
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(config.Dir, name)
		}
		return name, nil
	}
	search := SystemPath
	for _, variable := range config.Env {
		if value, ok := strings.CutPrefix(variable, "PATH="); ok {
			search = value
		}
	}
	return LookPath(name, search)
}

// LookPath looks for a program in a list of directories. (exec.LookPath uses this process's own PATH, and init has none.)
func LookPath(name, search string) (string, error) {
	for _, dir := range filepath.SplitList(search) {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("looking for %s in %s: %w", name, search, errNotFound)
}

var errNotFound = errors.New("program not found")

// describe tells a person how a process ended.
func describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		return status.Signal().String()
	}
	return fmt.Sprintf("exit status %d", status.ExitStatus())
}

// reaper starts processes and collects every process that ends, its own and those whose parents left them to process 1.
// Collecting is done in one place, since a second one would steal statuses from it.
type reaper struct {
	mu      sync.Mutex // guards waiting, and keeps a process from being collected before it is there
	waiting map[int]chan<- syscall.WaitStatus
}

// newReaper returns a reaper that works until the machine ends.
func newReaper() *reaper {
	r := &reaper{waiting: map[int]chan<- syscall.WaitStatus{}}
	died := make(chan os.Signal, 1)
	signal.Notify(died, syscall.SIGCHLD)
	go func() {
		for range died {
			r.collect()
		}
	}()
	return r
}

// start starts a process and returns a channel which carries its status once it has ended.
func (r *reaper) start(path string, args []string, attr *syscall.ProcAttr) (pid int, ended <-chan syscall.WaitStatus, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if pid, err = syscall.ForkExec(path, args, attr); err != nil {
		return 0, nil, fmt.Errorf("starting %s: %w", path, err)
	}
	status := make(chan syscall.WaitStatus, 1)
	r.waiting[pid] = status
	return pid, status, nil
}

// collect takes the statuses of all processes that have ended.
func (r *reaper) collect() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid == 0 {
			return
		}
		if ended, ok := r.waiting[pid]; ok {
			ended <- status
			delete(r.waiting, pid)
		}
	}
}
