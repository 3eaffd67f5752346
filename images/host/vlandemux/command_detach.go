package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/demux/control"
)

func newDetach() *cobra.Command {
	var ask asker
	var bpffs string
	cmd := &cobra.Command{
		Use:   "detach [INTERFACE]",
		Short: "Detach one interface, or remove the demux that `vlandemux run` left in the kernel",
		Long: `With INTERFACE, ask the running vlandemux to detach that trunk, or that worker with its clients.

Without it, detach every trunk and worker and remove the pinned maps, with all assignments, locations and counters,
and the control socket of a vlandemux that was killed. End ` + "`vlandemux run`" + ` first.
Succeeds if nothing is attached.`,
		Example: `  vlandemux detach w1
  systemctl stop vlandemux; vlandemux detach`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if err := checkName(args[0]); err != nil {
					return usageError{err}
				}
				client := ask.client()
				defer client.Close()
				return client.Detach(cmd.Context(), args[0])
			}
			if bpffs == "" {
				return usageError{errors.New("--bpffs is empty: without pins, the demux has ended with its process")}
			}
			found, err := detach(bpffs)
			if err != nil {
				return err
			}
			if err := control.RemoveStale(cmd.Context(), ask.socket); err != nil {
				return err
			}
			if !found {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "nothing is pinned in %s\n", bpffs)
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "detached, and removed what was pinned in %s\n", bpffs)
			return err
		},
	}
	ask.addSocket(cmd)
	cmd.Flags().StringVar(&bpffs, "bpffs", defaultBPFFS, "folder of the pins")
	return cmd
}

// detach removes what is pinned at path and reports whether there was something.
func detach(path string) (found bool, err error) {
	if err := checkCapabilities(); err != nil {
		return false, fmt.Errorf("detaching: %w", err)
	}
	if !exists(path) && !exists(lockPath(path)) {
		return false, nil
	}
	if err := checkBPFFS(path); err != nil {
		return false, fmt.Errorf("detaching: %w", err)
	}
	held, err := holdPins(path)
	if err != nil {
		return false, fmt.Errorf("detaching: %w", err)
	}
	found = true
	switch err = demux.RemovePins(path); {
	case errors.Is(err, fs.ErrNotExist) && !held.existed:
		found, err = false, nil
	case err != nil:
		err = fmt.Errorf("detaching: %w", err)
	}
	return found, errors.Join(err, held.release())
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
