// Progress runs a Ginkgo suite and tells what it is doing: which specs run now, how many of how many have ended, and
// the time left, from the times of the last run. On a terminal this is one line below Ginkgo's own output; elsewhere
// it is a line every half minute.
//
//	progress ginkgo run --procs=2 ./e2e
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/term"
)

func main() {
	status, err := run(os.Args[1:], os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "progress:", err)
	}
	os.Exit(status)
}

// calm is how long Ginkgo has to be silent before a line is put behind its output, which comes in pieces.
const calm = 300 * time.Millisecond

// run runs a command and gives its exit status.
func run(command []string, out *os.File) (status int, err error) {
	if len(command) == 0 {
		return 2, errors.New("no command: progress ginkgo run ./e2e")
	}
	folder, err := os.MkdirTemp("", "vlandemux-progress-")
	if err != nil {
		return 1, fmt.Errorf("making a folder for what the suite tells: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	events, err := os.Create(filepath.Join(folder, "events"))
	if err != nil {
		return 1, fmt.Errorf("making the file for the suite's events: %w", err)
	}
	defer events.Close() //nolint:errcheck // only read
	begun := time.Now()
	cmd := exec.Command(command[0], command[1:]...) //nolint:noctx // it ends by itself, and by the signals below
	cmd.Env = append(os.Environ(), "VLANDEMUX_PROGRESS="+folder)
	cmd.Stdin, cmd.Stderr = os.Stdin, os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return 1, err
	}
	// A terminal sends Ctrl-C to every process in the foreground, so that the suite has it already.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("starting the suite: %w", err)
	}
	s := &screen{out: out, every: 30 * time.Second, terminal: term.IsTerminal(int(out.Fd())), plain: os.Getenv("NO_COLOR") != ""}
	show(s, pipe, events, func(s os.Signal) { _ = cmd.Process.Signal(s) }, signals)
	var failed *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &failed) {
		return 1, err
	}
	status = cmd.ProcessState.ExitCode()
	if status < 0 { // by a signal
		status = 1
	}
	died, err := tellDead(folder, begun, out)
	if died && status == 0 {
		status = 1
	}
	return status, err
}

// show copies what the command prints and puts lines of its own in between, until the command has closed its output.
func show(s *screen, pipe io.Reader, events io.Reader, pass func(os.Signal), signals <-chan os.Signal) {
	pieces := make(chan []byte)
	go func() {
		defer close(pieces)
		for {
			piece := make([]byte, 32<<10)
			n, err := pipe.Read(piece)
			if n > 0 {
				pieces <- piece[:n]
			}
			if err != nil {
				return
			}
		}
	}()
	tick := time.NewTicker(calm)
	defer tick.Stop()
	suite := newSuite(time.Now())
	spoke, told := time.Now(), time.Now()
	for {
		select {
		case piece, more := <-pieces:
			s.print(piece)
			if !more {
				return
			}
			spoke = time.Now()
		case sig := <-signals:
			if sig != os.Interrupt {
				pass(sig)
			}
		case now := <-tick.C:
			suite.read(events)
			// On a terminal the suite has said that it waits, and what is typed is shown where the cursor is.
			if now.Sub(spoke) < calm || suite.ended() || s.terminal && suite.kept != "" || !s.terminal && now.Sub(told) < s.every {
				continue
			}
			told = now
			s.status(suite.line(now, s.width()))
		}
	}
}
