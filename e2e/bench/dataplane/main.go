// Command dataplane measures vlandemux and what could stand in its place on
// one wired path, in namespaces of its own. It needs root, so `make bench` runs it in
// a container. It prints one line of JSON for each measurement.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/e2e/bench/result"
)

// vlandemuxPath is where dockerexec puts the program that is measured.
const vlandemuxPath = "testdata/vlandemux"

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is what all measurements share.
type bench struct {
	only    []string
	rounds  int
	samples *json.Encoder
}

func run() error {
	var b bench
	only := flag.String("only", "", "names or groups to measure, separated by commas; all if empty")
	flag.IntVar(&b.rounds, "rounds", 10, "how often each variant of the frame measurements has its turn")
	flag.Parse()
	if *only != "" {
		b.only = strings.Split(*only, ",")
	}
	b.samples = json.NewEncoder(os.Stdout)
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()

	groups := []struct {
		name    string
		measure func(context.Context) error
	}{
		{"verifier", b.instructions},
		{"program", b.programs},
		{"group", b.groups},
		{"frames", b.frameRates},
		{"fed", b.frameRates},
		{"tcp", b.streams},
		{"rr", b.streams},
		{"start", b.tables},
	}
	var errs []error
	for _, group := range groups {
		if !b.wants(group.name) || group.name == "rr" && b.wants("tcp") || group.name == "fed" && b.wants("frames") {
			continue
		}
		start := time.Now()
		if err := group.measure(ctx); err != nil {
			// The others are worth having all the same.
			errs = append(errs, fmt.Errorf("measuring %s: %w", group.name, err))
		}
		runtime.GC()
		fmt.Fprintf(os.Stderr, "bench: %s took %.1f s\n", group.name, time.Since(start).Seconds())
	}
	return errors.Join(errs...)
}

// wants reports whether a measurement of that name, or one of a group, was asked for.
func (b *bench) wants(name string) bool {
	return len(b.only) == 0 || slices.ContainsFunc(b.only, func(only string) bool {
		return only == name || strings.HasPrefix(name, only+"/") || strings.HasPrefix(only, name+"/")
	})
}

// emit prints one measurement.
func (b *bench) emit(name, variant, unit string, value float64) error {
	return b.samples.Encode(result.Sample{Name: name, Variant: variant, Unit: unit, Value: value})
}
