package guest

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

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
