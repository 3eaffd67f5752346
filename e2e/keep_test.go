package e2e

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"

	"github.com/vlandemux/vlandemux/e2e/internal/failure"
	"github.com/vlandemux/vlandemux/e2e/internal/keep"
	"github.com/vlandemux/vlandemux/harness"
)

// keepLabs reads which labs are kept. Ginkgo's --sleep-on-failure is KEEP=failure too: Ginkgo's own pause does not end at the
// signals that [interruption.takeOver] has taken from it. A suite in which somebody looks around is not ended by its timeout.
func (s *suite) keepLabs(config *types.SuiteConfig) (err error) {
	if s.keep, err = keep.FromEnvironment(); err != nil {
		return err
	}
	if config.SleepOnFailure > 0 {
		s.keep = keep.Wish{When: cmp.Or(s.keep.When, "failure"), For: config.SleepOnFailure}
		config.SleepOnFailure = 0
	}
	if !s.keep.Any() {
		return nil
	}
	if config.ParallelTotal > 1 {
		return errors.New("KEEP holds one lab up at a time: PROCS=1")
	}
	config.Timeout = 0
	return nil
}

// limit bounds a spec, its lab's end included; where labs are kept up, without that end.
func (s *suite) limit() any {
	if s.keep.Any() {
		return ginkgo.NodeTimeout(specTimeout())
	}
	return ginkgo.SpecTimeout(specTimeout())
}

// keepUp holds a lab up as long as it is wanted, and tells whether it did. Ginkgo tells of the failure after that.
func (s *suite) keepUp(lab *harness.Lab, spec types.SpecReport, late error) bool {
	if !s.keep.Of(spec.Failed() || late != nil) || s.ctx.Err() != nil {
		return false
	}
	f := failureOf(&spec)
	if !spec.Failed() && late != nil {
		f.Message = late.Error()
	}
	until, enter := time.Now().Add(s.keep.For).Format("15:04:05"), ""
	var terminal io.ReadCloser
	if tty, err := os.Open("/dev/tty"); err == nil {
		signal.Ignore(syscall.SIGTTIN) // in the background nothing is read, and it goes on
		terminal, enter = tty, "Enter or "
	}
	fmt.Printf("\n\nkept up: %s\n", spec.FullText())
	if f.Message != "" {
		fmt.Printf("failed:  %s\nsee      %s\n", failure.Cause(f.Message), shown(s.evidence(spec.FullText())))
	}
	fmt.Printf("\n%s\nThe lab is there until %sCtrl-C, or %s (KEEP_FOR=%s).\n", lab.Where(), enter, until, s.keep.For)
	s.progress.tell("kept", until, spec.FullText())
	why := s.keep.Wait(s.ctx, terminal)
	s.progress.tell("kept no more")
	fmt.Printf("%s: the lab is taken down.\n", why)
	return true
}
