// Program vm runs a command on a stock Linux kernel: it boots one in QEMU with this machine's files below a throw-away
// overlay, starts a Docker engine there, runs the command in the current directory, passes its output on and ends with its
// exit status. The same program is process 1 there.
package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/vlandemux/vlandemux/images/vm/internal/child"
	"github.com/vlandemux/vlandemux/images/vm/internal/guest"
	"github.com/vlandemux/vlandemux/images/vm/internal/kernel"
	"github.com/vlandemux/vlandemux/images/vm/internal/session"
)

// Exit statuses of our own, those of docker run and timeout(1).
const (
	exitTimeout = 124
	exitFailed  = 125
)

func main() {
	if os.Args[0] == guest.Init {
		guest.Main(context.Background())
	}
	child.DieWithParent("go", "make") // go run and make: their machine goes with them
	status := exitFailed
	cmd := command(&status)
	if err := cmd.Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		if errors.Is(err, errTimeout) {
			status = exitTimeout
		} else {
			status = exitFailed
		}
	}
	os.Exit(status)
}

var errTimeout = errors.New("time is up")

type flags struct {
	kernel, sources    string
	console            string
	env, shares        []string
	modules            []string
	noDocker           bool
	memory, processors int
	timeout            time.Duration
}

// command returns the command line. It sets status when the command in the machine has one.
func command(status *int) *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:   "vm --kernel 6.1|6.12|FILE.deb|FOLDER [flags] -- COMMAND [ARGS...]",
		Short: "Run a command on a stock Linux kernel, in a virtual machine that sees this machine's files",
		Long: `Runs a command on a stock Linux kernel: boots it in QEMU with this machine's files below a throw-away overlay (what
the command writes is gone afterwards, but for directories given with --share), starts a Docker engine, runs the command as root
in the current directory, passes its output on and ends with its exit status.

Nothing of this needs root. Without it, the machine sees no files that you may not read, and what it writes into a shared
directory is yours whatever owner it asks for. The command gets VLANDEMUX_VM_KERNEL, the kernel's package, and VLANDEMUX_VM_ACCEL:
kvm, or tcg, under which programs take 10 to 20 times as long.

Exit statuses of vm itself: 125 when the machine failed or its kernel logged a warning, 124 when time was up, 128+N for a
command that was ended by signal N. (go run turns every one but 0 into 1, and go tool makes
0 of a vm that was killed: compile it where that matters.)`,
		Example: `  vm --kernel 6.1 -- docker info
  vm --kernel 6.12 --no-docker -- ./demux.test -test.v
  vm --kernel 6.12 --share reports -- ./e2e.test --ginkgo.junit-report reports/6.12.xml`,
		Args:          cobra.MinimumNArgs(1),
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(_ *cobra.Command, args []string) error {
			var err error
			*status, err = run(f, args)
			return err
		},
	}
	set := cmd.Flags()
	set.SetInterspersed(false)
	set.StringVar(&f.kernel, "kernel", "", "kernel: a series that the machine's apt knows (6.1, 6.8), a .deb, or a folder with vmlinuz and modules (required)")
	set.StringVar(&f.sources, "sources", "", "take a series from these archives instead of this machine's: lines of sources.list(5)")
	set.StringArrayVarP(&f.env, "env", "e", nil, "pass NAME on to the command, or NAME=VALUE; always passed: PATH, HOME, TERM, VLANDEMUX_*")
	set.StringArrayVar(&f.shares, "share", nil, "directory of this machine which the command may change")
	set.StringArrayVar(&f.modules, "module", nil, "load this kernel module besides those that the suite uses; with a ? behind its name: where the kernel has it")
	set.BoolVar(&f.noDocker, "no-docker", false, "start no Docker engine")
	set.IntVar(&f.memory, "memory", 2048, "memory of the machine in MiB")
	set.IntVar(&f.processors, "cpus", min(runtime.NumCPU(), 4), "processors of the machine")
	set.DurationVar(&f.timeout, "timeout", 30*time.Minute, "interrupt the command when it takes longer, boot included")
	set.StringVar(&f.console, "console", "", "write what the kernel prints to this file")
	_ = cmd.MarkFlagRequired("kernel")
	return cmd
}

func run(f flags, args []string) (int, error) {
	dir, err := os.Getwd()
	if err != nil {
		return 0, err
	}
	var shares []string
	for _, share := range f.shares {
		path, err := filepath.Abs(share)
		if err != nil {
			return 0, err
		}
		shares = append(shares, path)
	}
	modules := kernel.DefaultModules()
	modules.Late = append(modules.Late, f.modules...)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	ctx, cancel := context.WithTimeoutCause(context.Background(), f.timeout, fmt.Errorf("%w: the machine ran for %s (--timeout)", errTimeout, f.timeout))
	defer cancel()

	result, err := session.Run(ctx, session.Options{
		Kernel:     f.kernel,
		Sources:    f.sources,
		Modules:    modules,
		Args:       args,
		Env:        environment(os.Environ(), f.env),
		Dir:        dir,
		Docker:     !f.noDocker,
		Shares:     shares,
		Processors: f.processors,
		Memory:     f.memory,
		Stdout:     os.Stdout,
		Stderr:     os.Stderr,
		Notice:     func(line string) { fmt.Fprintln(os.Stderr, "vm:", line) },
		Signals:    signals,
	})
	if result.Suspect {
		fmt.Fprintf(os.Stderr, "vm: what the guest's kernel printed:\n%s\n", strings.TrimRight(result.Console, "\n"))
	}
	if f.console != "" {
		err = errors.Join(err, os.WriteFile(f.console, []byte(result.Console), 0o644))
	}
	return result.Status, err
}

// passedAlways tells whether the command gets a variable without being asked for: what programs need, and the project's own
// settings.
func passedAlways(name string) bool {
	return slices.Contains([]string{"PATH", "HOME", "TERM"}, name) || strings.HasPrefix(name, "VLANDEMUX_")
}

// environment picks from the host's environment what the command gets. Each of chosen is NAME or NAME=VALUE; a NAME that the
// host does not have is not passed.
func environment(host, chosen []string) []string {
	passed := map[string]string{}
	for _, variable := range host {
		if name, _, _ := strings.Cut(variable, "="); passedAlways(name) || slices.Contains(chosen, name) {
			passed[name] = variable
		}
	}
	for _, choice := range chosen {
		if name, _, given := strings.Cut(choice, "="); given {
			passed[name] = choice
		}
	}
	return slices.Sorted(maps.Values(passed))
}
