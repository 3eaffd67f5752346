package main

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
)

const (
	defaultSocket = "/run/vlandemux.sock"
	defaultBPFFS  = "/sys/fs/bpf/vlandemux"
)

const rootHelp = `vlandemux gives every client behind a VLAN trunk a worker of its own, whatever the client's IP address
and whichever VLAN it is plugged into. A client is a MAC address, a worker is a network interface: usually
the host's end of a veth whose other end is in a container or network namespace.

Frames from an assigned MAC are handed to its worker without their outer VLAN tag; what the worker answers
gets the tag that the client was last seen with. Clients move between VLANs and trunks freely; several may
share a worker, and all of them may have the same IP address.

Start it on the interface that carries tagged frames, then look:

  sudo vlandemux run --trunk eth1 --assign 02:00:00:00:00:01=w0 --assign 02:00:00:00:00:02=w1
  sudo vlandemux status
  sudo vlandemux counters --watch 1s

The dataplane runs in the kernel and is pinned in a BPF file system. It keeps working when ` + "`vlandemux run`" + ` ends or
is killed, and the next ` + "`vlandemux run`" + ` takes it over. ` + "`vlandemux detach`" + ` removes it.

Exit codes: 0 done; 1 it failed, standard error says why; 2 the command line makes no sense.`

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "vlandemux",
		Short:         "Give every client behind a VLAN trunk a worker interface of its own",
		Long:          rootHelp,
		Version:       version(), // without a template: one would keep every method of every type in the program, 3 MB
		Args:          usage(cobra.NoArgs),
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(
		newRun(),
		newStatus(),
		newApply(),
		newAssign(),
		newUnassign(),
		newCounters(),
		newWatch(),
		newDetach(),
		newVersion(),
		newMan(),
	)
	return root
}

// asker holds the flags of the commands that ask a running vlandemux.
type asker struct {
	socket string
	output string // text or json
	json   bool   // the same as output json
}

func (a *asker) addSocket(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.socket, "socket", defaultSocket, "control socket of the running vlandemux")
}

// addOutput declares --output and --json, which is short for it. They are checked before the command runs.
func (a *asker) addOutput(cmd *cobra.Command, json string) {
	cmd.Flags().StringVarP(&a.output, "output", "o", "text", "what to print: text, or json: "+json)
	cmd.Flags().BoolVar(&a.json, "json", false, "same as --output json")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if err := checkOneOf(a.output, []string{"text", "json"}); err != nil {
			return usageError{fmt.Errorf("--output: %w", err)}
		}
		a.json = a.json || a.output == "json"
		return nil
	}
}

func (a *asker) client() *control.Client { return control.Dial(a.socket) }

func newVersion() *cobra.Command {
	var ask asker
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if ask.json {
				return writeJSON(cmd.OutOrStdout(), map[string]string{"version": version()}, "  ")
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "vlandemux", version())
			return err
		},
	}
	ask.addOutput(cmd, "one object")
	return cmd
}

// version returns the module's version, else the revision it was built from, else "devel".
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	revision, modified := "", ""
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			revision = setting.Value
		case "vcs.modified":
			if setting.Value == "true" {
				modified = "-modified"
			}
		}
	}
	if revision == "" {
		return "devel"
	}
	return revision[:min(12, len(revision))] + modified
}

// newMan is for packagers: its pages are made of the same text as --help.
func newMan() *cobra.Command {
	return &cobra.Command{
		Use:    "man FOLDER",
		Short:  "Write the man pages into a folder",
		Hidden: true,
		Args:   usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			header := &doc.GenManHeader{Section: "8", Source: "vlandemux " + version(), Manual: "vlandemux"}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			if err := doc.GenManTree(root, header, args[0]); err != nil {
				return fmt.Errorf("writing the man pages: %w", err)
			}
			return nil
		},
	}
}
