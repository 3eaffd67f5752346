// Command dockerexec runs a test program in a privileged container, for tests that need a kernel to themselves but whose user is not root:
//
//	go test -exec "go tool dockerexec" ./bpf/demux
//
// The program runs as root with CAP_NET_ADMIN, CAP_SYS_ADMIN and CAP_NET_RAW, without a network, on a read-only root with a tmpfs /run and
// /tmp, in a copy of its package's folder that holds testdata. A program that is linked dynamically, as -race makes it, takes its libraries
// along. Its output and its exit status come back as they are. All that is needed is a Docker engine; files and image go there through its API.
// Whatever happens to dockerexec, kill -9 included, nothing stays behind but a small image.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/vlandemux/vlandemux/harness/internal/engine"
)

// statusFailed is the exit status when dockerexec itself fails, as that of `docker run`.
const statusFailed = 125

// stopGrace is how long the program may take to end after a signal.
const stopGrace = 5 * time.Second

func main() {
	guard := engine.StandGuard()
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, `usage: go test -exec "go tool dockerexec" PACKAGES`)
		os.Exit(2)
	}
	status, err := run(context.Background(), guard, os.Args[1], os.Args[2:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "dockerexec:", err)
		status = statusFailed
	}
	os.Exit(status)
}

// run runs the program and returns its exit status; 128 plus the signal's number if a signal ended it.
func run(ctx context.Context, guard engine.Guard, program string, args []string) (status int, err error) {
	catch := []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, catch...)
	defer signal.Stop(signals)
	// Until the program runs, a signal ends the run; from then on, it is the program's.
	startCtx, stop := signal.NotifyContext(ctx, catch...)
	defer stop()

	e, err := engine.Connect(startCtx, "")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	e.UseGuard(guard)
	c, err := start(startCtx, e, program, args)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.Close(ctx)) }()

	output := make(chan error, 1)
	go func() {
		_, err := io.Copy(os.Stdout, c.Stream)
		output <- err
	}()
	if err := await(ctx, c, signals); err != nil {
		return 0, err
	}
	if err := <-output; err != nil {
		return 0, fmt.Errorf("reading the program's output: %w", err)
	}
	return c.Wait(ctx)
}

// await returns when the container has ended. It passes signals on to the program, which gets five seconds to end by the first.
func await(ctx context.Context, c *engine.Container, signals <-chan os.Signal) error {
	names := map[os.Signal]string{syscall.SIGINT: "INT", syscall.SIGTERM: "TERM", syscall.SIGQUIT: "QUIT", syscall.SIGHUP: "HUP"}
	var force <-chan time.Time
	for {
		select {
		case <-c.Done():
			return nil
		case <-force:
			return fmt.Errorf("the program was ended by force: it went on for %v after a signal", stopGrace)
		case s := <-signals:
			if force == nil {
				force = time.After(stopGrace)
			}
			if err := c.Signal(ctx, names[s]); err != nil && !c.Ended() {
				return err
			}
		}
	}
}
