package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/vlandemux/vlandemux/images/vm/internal/machine"
	"github.com/vlandemux/vlandemux/images/vm/internal/protocol"
)

// follower is a machine at work and what is known about it.
type follower struct {
	opts    Options
	machine *machine.Machine
	began   time.Time
	console machine.Console

	running bool              // the command runs
	last    *protocol.Message // Exited or Failed
	stopped error             // why we end the machine before its time
	byUser  bool              // the reason is a signal
	first   time.Time         // when the first signal came
}

// follow accompanies a machine from power-on to its end.
func follow(ctx context.Context, opts Options, m *machine.Machine) (Result, error) {
	f := &follower{opts: opts, machine: m, began: time.Now()}
	printed := make(chan struct{})
	go func() {
		_, _ = io.Copy(&f.console, m.Console)
		close(printed)
	}()
	f.loop(ctx, receive(m.Control), m.Ended())
	<-printed
	m.Console.Close()
	m.Control.Close()
	return f.verdict()
}

// receive returns a channel of what the guest says. It is closed when the guest can say no more.
func receive(control io.Reader) <-chan protocol.Message {
	messages := make(chan protocol.Message)
	go func() {
		defer close(messages)
		decoder := json.NewDecoder(control)
		for {
			var m protocol.Message
			if decoder.Decode(&m) != nil {
				return
			}
			messages <- m
		}
	}()
	return messages
}

// loop handles whatever happens until the machine is gone and all it said has been heard.
func (f *follower) loop(ctx context.Context, messages <-chan protocol.Message, ended <-chan error) {
	deadline := time.NewTimer(bootPatience)
	defer deadline.Stop()
	late := fmt.Errorf("the machine has not booted within %s", bootPatience)
	timeUp := ctx.Done()

	for messages != nil || ended != nil {
		select {
		case m, ok := <-messages:
			if !ok {
				messages = nil
				continue
			}
			f.handle(m)
			switch {
			case f.last != nil:
				deadline.Reset(offPatience)
			case m.Kind == protocol.Booted:
				deadline.Stop()
			}
		case err := <-ended:
			ended = nil
			if err != nil && f.stopped == nil && f.last == nil {
				f.stopped = err
			}
		case <-deadline.C:
			if f.last == nil && f.stopped == nil {
				f.stopped = late
			}
			f.machine.Kill()
		case <-timeUp:
			timeUp = nil
			if f.last != nil {
				continue // the machine is powering off, under a deadline of its own
			}
			f.stopped = context.Cause(ctx)
			if !f.interrupt(syscall.SIGINT) {
				f.machine.Kill()
			}
			deadline.Reset(interruptPatience)
		case signal := <-f.opts.Signals:
			if f.last != nil {
				f.machine.Kill()
				continue
			}
			if f.byUser && time.Since(f.first) < sameKeystroke {
				continue
			}
			again := f.stopped != nil
			f.byUser, f.first = true, time.Now()
			f.stopped = fmt.Errorf("stopped by a signal: %s", signal)
			if again || !f.interrupt(signal) {
				f.machine.Kill()
			}
		}
	}
}

// sameKeystroke is within what a second signal is taken for the first: on Ctrl-C a terminal tells every process, and `go tool`
// passes on what it was told.
const sameKeystroke = time.Second

// interrupt passes a signal on to the command. It returns false when there is none that could take it.
func (f *follower) interrupt(signal os.Signal) bool {
	number, ok := signal.(syscall.Signal)
	if !ok || !f.running {
		return false
	}
	return json.NewEncoder(f.machine.Control).Encode(protocol.Message{Kind: protocol.Signal, Signal: int(number)}) == nil
}

// handle does what a message of the guest asks for.
func (f *follower) handle(m protocol.Message) {
	since := time.Since(f.began).Round(100 * time.Millisecond)
	switch m.Kind {
	case protocol.Booted:
		f.opts.Notice(fmt.Sprintf("Linux %s booted after %s", m.Text, since))
	case protocol.Started:
		f.running = true
		f.opts.Notice(fmt.Sprintf("%s runs after %s", filepath.Base(f.opts.Args[0]), since))
	case protocol.Stdout:
		_, _ = f.opts.Stdout.Write(m.Data)
	case protocol.Stderr:
		_, _ = f.opts.Stderr.Write(m.Data)
	case protocol.Exited, protocol.Failed:
		f.running = false
		f.last = &m
	}
}

// badTaint are the flags of a kernel to which something happened: a bad page (B), an oops (D), a warning (W), a
// soft lockup (L). Others tell of modules and hardware.
const badTaint = 1<<5 | 1<<7 | 1<<9 | 1<<14

// verdict returns how it went, once the machine is gone.
func (f *follower) verdict() (Result, error) {
	result := Result{Console: f.console.String()}
	var errs []error
	switch {
	case f.stopped != nil:
		errs = append(errs, f.stopped)
	case f.last == nil:
		errs = append(errs, errors.New("the machine ended before the command did"))
	case f.last.Kind == protocol.Failed:
		errs = append(errs, fmt.Errorf("preparing the machine: %s", f.last.Text))
	case f.last.Signal != 0:
		result.Status = 128 + f.last.Signal
	default:
		result.Status = f.last.Status
	}
	if lines := f.console.Troubles(); len(lines) > 0 {
		errs = append(errs, fmt.Errorf("the guest's kernel logged a warning:\n  %s", strings.Join(lines, "\n  ")))
	} else if f.last != nil && f.last.Tainted&badTaint != 0 {
		errs = append(errs, fmt.Errorf("the guest's kernel is tainted (%#x): it oopsed, warned, hung or found a bad page", f.last.Tainted))
	}
	explained := f.byUser || f.last != nil && f.last.Kind == protocol.Failed
	result.Suspect = len(f.console.Troubles()) > 0 || len(errs) > 0 && !explained
	return result, errors.Join(errs...)
}
