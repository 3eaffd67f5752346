package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/docker/docker/api/types/filters"
)

// A container ends when its program sees the end of standard input, so only once it has started: a process that is killed between creating
// and starting one would leave it. Hence the guard: a second process of the same program, which outlives the first and removes the container. A
// program has one only if it has called StandGuard; without, the next run removes what was left (see Sweep).

// ownerLabel marks a container with the guard that watches over it.
const ownerLabel = "io.github.vlandemux.owner"

const (
	// guardName is what a process is called that is a guard and nothing else; its arguments are the owner and the engine's address.
	guardName = "vlandemux-guard"
	// guardTime is how long a guard looks for containers once its process is gone: the engine may still be busy with its last request.
	guardTime = 10 * time.Second
	guardPoll = 100 * time.Millisecond
)

// Guard allows a program to be started a second time, as its own guard. The zero value does not.
type Guard struct{ given bool }

// StandGuard is called at the beginning of a program's main function, or of TestMain. In a process that is a guard it does the guard's work and
// ends the process; in any other it returns at once.
func StandGuard() Guard {
	if len(os.Args) == 3 && os.Args[0] == guardName {
		if err := standGuard(os.Stdin, os.Args[1], os.Args[2]); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	return Guard{given: true}
}

// UseGuard has a guard started with the first container. To be called before that.
func (e *Engine) UseGuard(g Guard) { e.guard.wanted = g.given }

// guard is a process that removes what this one has created and not started, should this one be killed.
type guard struct {
	owner   string
	address string // of the engine, as Connect takes it
	wanted  bool

	mu    sync.Mutex
	cmd   *exec.Cmd      // guarded by mu; nil while there is none
	stdin io.WriteCloser // guarded by mu; its end is what the guard waits for
}

func newGuard(address string) *guard { return &guard{owner: rand.Text(), address: address} }

func (g *guard) start() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cmd != nil || !g.wanted {
		return nil
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program, to start its guard: %w", err)
	}
	cmd := exec.CommandContext(context.Background(), program, g.owner, g.address) // it has to outlive whatever is cancelled
	cmd.Args[0] = guardName
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C is not for the guard
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("making a pipe for the guard of containers: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the guard of containers: %w", err)
	}
	g.cmd, g.stdin = cmd, stdin
	return nil
}

// dismiss ends the guard. There is nothing for it to do any more.
func (g *guard) dismiss() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cmd == nil {
		return nil
	}
	_, err := io.WriteString(g.stdin, "dismissed\n")
	err = errors.Join(err, g.stdin.Close(), g.cmd.Wait())
	g.cmd = nil
	if err != nil {
		return fmt.Errorf("dismissing the guard of containers: %w", err)
	}
	return nil
}

// standGuard is what a guard does: it waits for its process to dismiss it or to end, and cleans up in the second case.
func standGuard(stdin io.Reader, owner, address string) error {
	if word, err := io.ReadAll(stdin); err != nil || len(word) > 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), guardTime)
	defer cancel()
	e, err := Connect(ctx, address)
	if err != nil {
		return err
	}
	defer e.Close() //nolint:errcheck // the process ends anyway
	tick := time.NewTicker(guardPoll)
	defer tick.Stop()
	for {
		_ = e.removeCreated(ctx, 0, filters.Arg("label", ownerLabel+"="+owner)) // what fails is tried again
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
