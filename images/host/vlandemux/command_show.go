package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
)

func newStatus() *cobra.Command {
	var ask asker
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show interfaces and what is wrong with them, assignments, and where each client was last seen",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client := ask.client()
			defer client.Close()
			status, err := client.Status(cmd.Context())
			if err != nil {
				return err
			}
			list, err := client.Assignments(cmd.Context())
			if err != nil {
				return err
			}
			all := report{Status: status, Assignments: list}
			if ask.json {
				return writeJSON(cmd.OutOrStdout(), all, "  ")
			}
			return writeStatus(cmd.OutOrStdout(), all, time.Now())
		},
	}
	ask.addSocket(cmd)
	ask.addOutput(cmd, "one object")
	return cmd
}

func newCounters() *cobra.Command {
	var ask asker
	var every time.Duration
	cmd := &cobra.Command{
		Use:   "counters",
		Short: "Show frames and octets by client, by worker and by reason dropped",
		Long: `Show what was counted since each client was assigned, and what was dropped since the demux was first
attached. Counters only increase while a client stays assigned: subtract two readings.`,
		Example: `  vlandemux counters
  vlandemux counters --watch 1s
  vlandemux counters --json | jq '.clients[] | select(.mac == "02:00:00:00:00:01").rx.packets'`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if every < 0 || every == 0 && cmd.Flags().Changed("watch") {
				return usageError{fmt.Errorf("--watch: %v is no interval, try 1s", every)}
			}
			client := ask.client()
			defer client.Close()
			show := func() error {
				if ask.json {
					return copyCounters(cmd.Context(), client, cmd.OutOrStdout(), every > 0)
				}
				counters, err := client.Counters(cmd.Context())
				if err != nil {
					return err
				}
				if every > 0 {
					if _, err := fmt.Fprintf(cmd.OutOrStdout(), "\n%s\n", time.Now().Format(time.DateTime)); err != nil {
						return err
					}
				}
				return writeCounters(cmd.OutOrStdout(), counters)
			}
			if every == 0 {
				return show()
			}
			return repeat(cmd.Context(), every, show)
		},
	}
	ask.addSocket(cmd)
	ask.addOutput(cmd, "one object, with --watch one a line")
	cmd.Flags().DurationVar(&every, "watch", 0, "show them again and again at this interval, e.g. 1s, until Ctrl-C")
	return cmd
}

// copyCounters writes the JSON as it comes, on one line if asked for.
func copyCounters(ctx context.Context, client *control.Client, w io.Writer, oneLine bool) error {
	body, err := client.CountersText(ctx)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 64<<10)
	to := io.Writer(out)
	if oneLine {
		to = lineJoiner{out}
	}
	if _, err := io.Copy(to, body); err != nil {
		return errors.Join(fmt.Errorf("copying the counters: %w", err), body.Close())
	}
	_ = out.WriteByte('\n') // Flush reports it
	return errors.Join(out.Flush(), body.Close())
}

// lineJoiner leaves out newlines.
type lineJoiner struct{ io.Writer }

func (j lineJoiner) Write(text []byte) (int, error) {
	for line := range bytes.SplitSeq(text, []byte("\n")) {
		if _, err := j.Writer.Write(line); err != nil {
			return 0, err
		}
	}
	return len(text), nil
}

// repeat calls show at once and at every interval until it fails or ctx ends, which is no error.
func repeat(ctx context.Context, every time.Duration, show func() error) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		if err := show(); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func newWatch() *cobra.Command {
	var ask asker
	var drops bool
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Print each client that is learned or moves, or frames that are dropped, as it happens",
		Long: `Print one line for each client seen for the first time (learned), for each change of trunk or VLAN
(moved), and when its trunk is gone or it has been silent for longer than --age of ` + "`vlandemux run`" + ` (forgotten), until Ctrl-C.
A client that moves more often gets one line a second.

With --drops print frames that are dropped: when, why, the MAC (the source of a frame from a trunk, the destination
of one from a worker), where it came in, the VLAN, and how many frames the line stands for. At most one line a second is
printed for each MAC and reason, and at most 100 in all.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client := ask.client()
			defer client.Close()
			subscribed := func() { fmt.Fprintln(cmd.ErrOrStderr(), "watching; Ctrl-C ends") }
			var err error
			if drops {
				err = client.WatchDrops(cmd.Context(), subscribed, printTo(cmd.OutOrStdout(), ask.json, writeDrop))
			} else {
				err = client.WatchMerged(cmd.Context(), subscribed, printTo(cmd.OutOrStdout(), ask.json, writeEvent))
			}
			if ctxErr := cmd.Context().Err(); ctxErr != nil && errors.Is(err, ctxErr) {
				return nil
			}
			return err
		},
	}
	ask.addSocket(cmd)
	ask.addOutput(cmd, "one object a line")
	cmd.Flags().BoolVar(&drops, "drops", false, "print frames that are dropped")
	return cmd
}

// printTo writes each value on a line, as JSON or with write.
func printTo[T any](out io.Writer, asJSON bool, write func(io.Writer, T) error) func(T) error {
	return func(value T) error {
		if asJSON {
			return writeJSON(out, value, "")
		}
		return write(out, value)
	}
}
