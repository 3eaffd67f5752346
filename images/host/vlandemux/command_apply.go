package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/demux/control"
)

func newApply() *cobra.Command {
	var ask asker
	var file string
	var prune, dryRun bool
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Make the assignments those of a file, while traffic flows",
		Long: `Give each MAC below "assign" in a configuration file its worker, and print what changed. If one assignment
fails, nothing changes. A MAC that the file does not name keeps its worker, unless --prune is given. Other settings of the
file are checked but not applied: ` + "`vlandemux run --config`" + ` takes them when it starts, and of them the trunks at SIGHUP.`,
		Example: `  vlandemux apply -f /etc/vlandemux.yaml --prune --dry-run
  generate-assignments | vlandemux apply -f - --prune -o json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, err := readApplied(file, cmd.InOrStdin())
			if err != nil {
				return usageError{err}
			}
			if prune && settings.assign == nil { // as when whoever was to write it has failed
				return usageError{errors.New(`the file has no "assign", and --prune would unassign every client: "assign: {}" says so`)}
			}
			client := ask.client()
			defer client.Close()
			difference, err := client.Apply(cmd.Context(), settings.assign, prune, dryRun)
			if err != nil {
				return err
			}
			if ask.json {
				return writeJSON(cmd.OutOrStdout(), difference, "  ")
			}
			return writeDifference(cmd.OutOrStdout(), difference, dryRun)
		},
	}
	ask.addSocket(cmd)
	ask.addOutput(cmd, "one object, with the lists assigned, reassigned and unassigned")
	cmd.Flags().StringVarP(&file, "file", "f", "", `configuration file with the assignments; "-" reads standard input`)
	cmd.Flags().BoolVar(&prune, "prune", false, "unassign every MAC that the file does not name")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print what would change, and change nothing")
	return cmd
}

// readApplied reads and checks the file called name, or stdin.
func readApplied(name string, stdin io.Reader) (config, error) {
	settings := defaults()
	var err error
	switch name {
	case "":
		return settings, errors.New("--file is missing: the configuration file with the assignments")
	case "-":
		err = readConfigFrom(stdin, "from standard input", &settings)
	default:
		err = readConfig(name, &settings)
	}
	if err == nil {
		err = settings.validate()
	}
	return settings, err
}

func writeDifference(w io.Writer, d control.Difference, dryRun bool) error {
	p := printer{w: w}
	for _, a := range d.Assigned {
		p.line("+ %s  %s", a.MAC, a.Target())
	}
	for _, r := range d.Reassigned {
		to := demux.Assignment{Worker: r.To, Places: r.Places}.Target()
		if to == r.From {
			to += ", at any place"
		}
		p.line("~ %s  %s -> %s", r.MAC, r.From, to)
	}
	for _, u := range d.Unassigned {
		p.line("- %s  %s", u.MAC, u.Target())
	}
	done := "applied"
	if dryRun {
		done = "nothing was changed; to do"
	}
	p.line("%s: %s", done, fmt.Sprintf("%s assigned, %s reassigned, %s unassigned",
		count(uint64(len(d.Assigned))), count(uint64(len(d.Reassigned))), count(uint64(len(d.Unassigned)))))
	return p.err
}
