// Demo runs the scenario "vlan learning" by itself, for a person to watch: the
// requests as they arrive, the ledger and the table of counters. On a terminal
// the lab then stays up until enter is pressed.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/onsi/gomega"
	"golang.org/x/term"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/e2e/internal/page"
	"github.com/vlandemux/vlandemux/harness"
	"github.com/vlandemux/vlandemux/scenarios"
)

func main() {
	guard := harness.StandGuard()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, guard, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, guard harness.Guard, out io.Writer) (err error) {
	seed, err := drawSeed()
	if err != nil {
		return err
	}
	h, err := harness.Connect(ctx, harness.Options{Guard: guard, Once: true, Log: os.Stderr})
	if err != nil {
		return unlessInterrupted(ctx, err)
	}
	defer func() { err = errors.Join(err, h.Close()) }()

	scenario := scenarios.VLANLearning()
	fmt.Fprintf(out, "%s\n\n", scenario.Summary)
	variant := scenarios.Variant{Attach: demux.AttachAuto, Family: scenarios.IPv4, Seed: harness.Seed(seed)}
	c := scenario.Cases[0]
	lab, err := h.Start(ctx, c.Topology(variant), variant.Seed)
	if err != nil {
		return unlessInterrupted(ctx, err)
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	fmt.Fprintf(out, "%s\n\n%s", lab, lab.Where())

	defer func() {
		switch stopped := recover().(type) {
		case nil:
		case failure:
			err = stopped
		default:
			panic(stopped)
		}
		err = unlessInterrupted(ctx, err)
	}()
	shown := page.Spec{Scenario: scenario.Name, Text: c.Text, State: page.Failed, Started: time.Now()}
	defer func() {
		if ctx.Err() == nil {
			err = errors.Join(err, writePage(out, lab, &shown))
		}
	}()
	fail := func(message string, _ ...int) { shown.Failure = message; panic(failure{message}) }
	c.Run(ctx, &scenarios.Run{
		Gomega:  gomega.NewGomega(fail),
		Fail:    fail,
		Variant: variant,
		Lab:     lab,
		Out:     out,
		Step: func(text string) {
			shown.Steps = append(shown.Steps, page.Step{Text: text, At: time.Since(shown.Started)})
			fmt.Fprintf(out, "\n— %s\n", text)
		},
		Linger: linger(out),
	})
	shown.State = page.Passed
	return nil
}

// writePage makes a report of the demo and names it.
func writePage(out io.Writer, lab *harness.Lab, shown *page.Spec) error {
	path, err := filepath.Abs("reports/demo.html")
	if err != nil {
		return err
	}
	phases := map[string]float64{}
	for _, p := range lab.Phases() {
		phases[p.Name] += p.Took.Seconds()
		shown.Took = max(shown.Took, p.Start+p.Took)
	}
	shown.Phases, shown.Windows = page.PhasesOf(phases, shown.Took), lab.ClosedWindows()
	shown.Lab = &page.Drawing{Topology: lab.Topology, Notes: page.NotesOf(lab), Text: lab.String()}
	if err := page.Write(path, &page.Run{Title: "vlandemux demo", Started: shown.Started, Took: shown.Took, Specs: []page.Spec{*shown}}); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nto look at: %s\n", path)
	return nil
}

// unlessInterrupted returns err, or after Ctrl-C that: whatever failed then has failed of it.
func unlessInterrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w; every container it had started is taken down", context.Cause(ctx))
	}
	return err
}

// failure is a failed expectation on its way out of the scenario.
type failure struct{ message string }

func (f failure) Error() string { return f.message }

// drawSeed takes SEED from the environment, else draws one.
func drawSeed() (uint64, error) {
	text := os.Getenv("SEED")
	if text == "" {
		return rand.Uint64(), nil
	}
	seed, err := strconv.ParseUint(text, 16, 64)
	if err != nil {
		return 0, fmt.Errorf("reading SEED, which must be hexadecimal digits as the demo printed them: %w", err)
	}
	return seed, nil
}

// linger waits for a person, if there is one.
func linger(out io.Writer) func(context.Context) {
	if !term.IsTerminal(int(os.Stdin.Fd())) || !term.IsTerminal(int(os.Stdout.Fd())) {
		return nil
	}
	return func(ctx context.Context) {
		fmt.Fprint(out, "\nPress enter to exit: ")
		entered := make(chan struct{})
		go func() {
			defer close(entered)
			_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // the end of stdin is as good as enter
		}()
		select {
		case <-entered:
		case <-ctx.Done():
		}
	}
}
