// Command vlandemux gives every client behind a VLAN trunk a worker interface of its own, by the client's
// MAC address alone. See `vlandemux --help`.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	code := execute(ctx, os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr})
	stop()
	os.Exit(code)
}

// streams are what a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

const (
	exitFailure = 1
	exitUsage   = 2
)

// execute runs the command line and returns the exit code.
func execute(ctx context.Context, args []string, std streams) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(std.in)
	root.SetOut(std.out)
	root.SetErr(std.err)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(std.err, "vlandemux: %v\n", err)
	if usage := (usageError{}); errors.As(err, &usage) {
		fmt.Fprintf(std.err, "See `%s --help`.\n", command.CommandPath())
		return exitUsage
	}
	return exitFailure
}

// usageError is a command line that makes no sense, whatever the state of the machine.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// noArguments is for commands that have flags only.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%q: no argument is expected here, only flags", args[0])}
	}
	return nil
}

// arguments is for commands that are about at least one of what.
func arguments(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usageError{fmt.Errorf("name at least one client, as %s", what)}
		}
		return nil
	}
}

// usage makes the errors of an argument check usage errors.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}
