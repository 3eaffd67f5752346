package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/demux/control"
)

func newAssign() *cobra.Command {
	var ask asker
	var move, force bool
	cmd := &cobra.Command{
		Use:   "assign MAC=WORKER[@TRUNK:VID,VID ...] ...",
		Short: "Give clients their workers while traffic flows",
		Long: `Give each client MAC the interface WORKER, which is attached if it was not yet. If one assignment
fails, none is made. One that is there already changes nothing.

With @TRUNK:VID,VID the client may be on these VLANs of this trunk only (ad12 is VLAN 12 of 802.1ad). Its frames from
elsewhere are dropped as wrong_place and do not change its location. With a single VLAN its location is known from
the start, so a device that sends nothing by itself can be reached.`,
		Example: `  vlandemux assign 02:00:00:00:00:03=w2
  vlandemux assign 02:00:00:00:00:04=w2@eth1:12         # it may be on VLAN 12 of eth1 only
  vlandemux assign --move 02:00:00:00:00:03=w0          # it has a worker already; location and counters stay`,
		Args: arguments("MAC=WORKER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			pairs, err := parsePairs(args)
			if mac, twice := demux.Twice(pairs); err == nil && twice {
				err = fmt.Errorf("%s is given twice", mac)
			}
			if err != nil {
				return usageError{&mistakesError{doing: "reading the assignments", mistakes: []error{err}}}
			}
			client := ask.client()
			defer client.Close()
			err = client.AssignAll(cmd.Context(), pairs, move, force)
			if errors.Is(err, demux.ErrAssigned) {
				err = fmt.Errorf("%w; --move changes that", err)
			}
			return err
		},
	}
	ask.addSocket(cmd)
	cmd.Flags().BoolVar(&move, "move", false, "give clients that have workers these instead")
	cmd.Flags().BoolVar(&force, "force", false, "also take interfaces that look like the host's own (addresses, routes, a master)")
	cmd.MarkFlagsMutuallyExclusive("move", "force")
	return cmd
}

func newUnassign() *cobra.Command {
	var ask asker
	cmd := &cobra.Command{
		Use:     "unassign MAC ...",
		Short:   "Forget clients, with their locations and counters",
		Example: `  vlandemux unassign 02:00:00:00:00:03`,
		Args:    arguments("MAC"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var mistakes []error
			macs, given := make([]demux.MAC, 0, len(args)), make(map[demux.MAC]bool, len(args))
			for _, arg := range args {
				mac, err := parseMAC(arg)
				if err == nil && given[mac] {
					err = fmt.Errorf("%s is given twice", mac)
				}
				given[mac] = true
				if err != nil {
					mistakes = append(mistakes, err)
				}
				macs = append(macs, mac)
			}
			if len(mistakes) > 0 {
				return usageError{&mistakesError{doing: "reading the addresses", mistakes: mistakes}}
			}
			client := ask.client()
			defer client.Close()
			return unassign(cmd.Context(), client, macs)
		},
	}
	ask.addSocket(cmd)
	return cmd
}

// unassign forgets every MAC; when one of them is not assigned, none.
func unassign(ctx context.Context, client *control.Client, macs []demux.MAC) error {
	list, err := client.Assignments(ctx)
	if err != nil {
		return err
	}
	assigned := make(map[demux.MAC]bool, len(list))
	for _, a := range list {
		assigned[a.MAC] = true
	}
	var mistakes []error
	for _, mac := range macs {
		if !assigned[mac] {
			mistakes = append(mistakes, fmt.Errorf("%s: %w", mac, demux.ErrNotAssigned))
		}
	}
	if len(mistakes) > 0 {
		return &mistakesError{doing: "nothing was unassigned", mistakes: mistakes}
	}
	for _, mac := range macs {
		if err := client.Unassign(ctx, mac.String()); err != nil {
			return err
		}
	}
	return nil
}
