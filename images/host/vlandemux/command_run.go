package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

const runHelp = `Attach to trunks and workers, then run in the foreground and serve the control socket.

A trunk is the interface on which tagged frames arrive; a worker is the interface that a client's frames
are handed to, found by its name when the client is assigned. Everything is checked before anything is
attached, and a start that fails undoes what it did.

What the kernel runs is pinned below --bpffs: it goes on when this program ends or is killed, and the next
` + "`vlandemux run`" + ` takes it over under running traffic, with all assignments, locations and counters. Trunks not listed
are detached; assignments not listed are kept. Without --trunk the trunks of the last run are used, and so are its untagged,
unknown, group_limit, age, redirect and capacity where they are not given: defaults of these are for the first run.

A trunk or worker that is deleted and created again under the same name is attached again, with its clients.

--redirect peer makes frames cheaper for a worker that is a veth with its other end in another network namespace, as of a
container: they are handed to that end (bpf_redirect_peer) and do not wait in its queue, 1.2 times as many a second from sockets
and 1.5 times as many from a driver. Other workers get theirs as before; ` + "`vlandemux status`" + ` shows which is which.
What is at the host's end no longer sees them: tcpdump, tc egress, the counters of ` + "`ip -s link`" + `, and offloads turned off
there. At the other end, XDP in the driver, GRO and RPS do not, and IP takes unicast frames to any MAC for its own; capture and
filter there. Counters of this program stay exact. Turned on under traffic, some frames may come out of order, once.

--early-drop xdp drops frames of unknown MACs in the trunk's driver, before the kernel makes packets of them: six times as many a second
as can be forwarded, and counted and told as before. It is for floods of them on a NIC with native XDP, with
` + "`ethtool -K eth1 rxvlan off`" + `: a frame whose tag the NIC takes out is not recognised there, and goes on as all others do. It is not for a
veth, which copies each frame for XDP. tcpdump on the trunk does not see what is dropped. It takes --unknown drop and no other XDP
program on the trunk. ` + "`ip link set eth1 xdp off`" + ` cannot take it off, --early-drop off does.

SIGHUP reads --config again: trunks and assignments become what it says, assignments that it no longer names
are removed, and those made with ` + "`vlandemux assign`" + ` stay. A file with a mistake changes nothing, and neither does
one that no longer has "assign". Other settings take effect at the next start. Replace the file by renaming a new one over it,
so that half a file is never read.

The same in a file, for --config; flags override it, assignment by assignment:

  trunks: [eth1]
  assign:
    02:00:00:00:00:01: w0
    02:00:00:00:00:02: w1
  untagged: pass                  # drop (default), or pass to the host's own stack
  unknown: pass                   # tagged frames of MACs without a worker: drop (default), pass, or a worker's name
  group_limit: 1000               # group frames a second that a worker may send; 0 (default) for no limit
  age: 5m                         # forget the location of a client that has sent nothing for this long; 0 (default): never
  redirect: peer                  # interface (default), or peer: see above
  early_drop: xdp                 # off (default), or xdp: see above
  attach: auto                    # auto (default), tcx or clsact
  capacity: 20000                 # how many MACs can be assigned; 4096 (default)
  bpffs: /sys/fs/bpf/vlandemux    # "" pins nothing: all ends with the process
  socket: /run/vlandemux.sock
  socket_group: netops            # who may use the socket besides root
  metrics: 127.0.0.1:9400         # for Prometheus; they are on the socket as well`

const runExample = `  # Two devices that both have 192.168.1.1, on a switch whose tagged port is eth1, one namespace for each
  ip netns add dut0; ip link add w0 type veth peer name eth0 netns dut0; ip link set w0 up
  ip netns add dut1; ip link add w1 type veth peer name eth0 netns dut1; ip link set w1 up
  ip -n dut0 addr add 192.168.1.2/24 dev eth0; ip -n dut0 link set eth0 up
  ip -n dut1 addr add 192.168.1.2/24 dev eth0; ip -n dut1 link set eth0 up
  ip link set eth1 up promisc on
  # in VLANs 12 and 13; without @eth1:12 a device cannot be reached before it has sent a frame
  vlandemux run --trunk eth1 --assign 02:00:00:00:00:01=w0@eth1:12 --assign 02:00:00:00:00:02=w1@eth1:13 &
  ip netns exec dut0 curl http://192.168.1.1/    # the first device
  ip netns exec dut1 curl http://192.168.1.1/    # the second

  # A trunk that carries the host's own untagged traffic as well
  vlandemux run --trunk eth1 --untagged pass --config /etc/vlandemux.yaml

  # Two trunks, as a systemd unit would start it
  vlandemux run --trunk eth1 --trunk eth2 --config /etc/vlandemux.yaml --capacity 20000`

// runFlags are the flags of `vlandemux run` as typed.
type runFlags struct {
	trunks, assignments []string
	typed               map[string]*typed // the other settings, by name
	file                string
	force               bool
	logFormat           string
	verbose             bool
}

// typed is a flag's value as it was typed; it is checked with all others.
type typed struct{ text, kind string }

func (t *typed) String() string        { return t.text }
func (t *typed) Type() string          { return t.kind }
func (t *typed) Set(text string) error { t.text = text; return nil }

// runner is what the command does in the end: it runs on settings, which reread reads again.
type runner func(ctx context.Context, settings config, reread func() (config, error), log *slog.Logger) error

func newRun() *cobra.Command {
	return newRunWith(&runFlags{}, run)
}

// newRunWith returns the command that reads flags and hands what they say to run.
func newRunWith(flags *runFlags, run runner) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "run --trunk INTERFACE --assign MAC=WORKER ...",
		Short:   "Attach to trunks and workers and serve the control socket",
		Long:    runHelp,
		Example: runExample,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOneOf(flags.logFormat, logFormats()); err != nil {
				return usageError{fmt.Errorf("--log-format: %w", err)}
			}
			settings, err := flags.settings(cmd.Flags().Changed)
			if err != nil {
				return usageError{err}
			}
			reread := func() (config, error) {
				if info, err := os.Stat(flags.file); err == nil && !info.Mode().IsRegular() {
					return config{}, fmt.Errorf("reading the configuration again: %s is no plain file, but %v: it can be read once", flags.file, info.Mode())
				}
				return flags.settings(cmd.Flags().Changed)
			}
			return run(cmd.Context(), settings, reread, flags.logger(cmd.ErrOrStderr()))
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&flags.trunks, "trunk", nil, "interface on which tagged frames arrive; several are possible")
	f.StringArrayVar(&flags.assignments, "assign", nil,
		"give the client MAC the interface WORKER, as MAC=WORKER, or as MAC=WORKER@TRUNK:VID,VID for\na client that may be there alone; several are possible")
	standard := map[string]string{"attach": defaults().attach, "bpffs": defaults().bpffs, "socket": defaults().socket}
	flags.typed = map[string]*typed{}
	for _, s := range settings() {
		flags.typed[s.name] = &typed{text: standard[s.name], kind: s.kind}
		f.Var(flags.typed[s.name], s.name, s.usage)
	}
	f.BoolVar(&flags.force, "force", false, "also attach to interfaces that look like the host's own (addresses, routes, a master)")
	f.StringVar(&flags.logFormat, "log-format", "text", "log as text or json")
	f.StringVar(&flags.file, "config", "", "YAML file with the same settings; flags override it")
	f.BoolVarP(&flags.verbose, "verbose", "v", false, "log every step")
	return cmd
}

func logFormats() []string { return []string{"text", "json"} }

func (f *runFlags) logger(to io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: slog.LevelInfo}
	if f.verbose {
		options.Level = slog.LevelDebug
	}
	if f.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(to, options))
	}
	return slog.New(slog.NewTextHandler(to, options))
}

// settings merges the file and the flags, and checks everything that can be checked without a kernel.
// changed reports whether a flag was given.
func (f *runFlags) settings(changed func(flag string) bool) (config, error) {
	merged := defaults()
	var mistakes []error
	if f.file != "" {
		if err := readConfig(f.file, &merged); err != nil {
			mistakes = append(mistakes, err)
		}
	}
	merged.listed = merged.assign != nil
	if changed("trunk") {
		names := f.trunks
		if len(names) == 0 {
			names = []string{""}
		}
		for _, name := range names {
			if err := checkName(name); err != nil {
				mistakes = append(mistakes, fmt.Errorf("--trunk: %w", err))
			}
		}
		merged.trunks = f.trunks
	}
	for _, s := range settings() {
		if !changed(s.name) {
			continue
		}
		if err := s.set(&merged, f.typed[s.name].text); err != nil {
			mistakes = append(mistakes, fmt.Errorf("--%s: %w", s.name, err))
		}
	}
	merged.force = f.force
	given, err := parsePairs(splitPairs(f.assignments))
	if err != nil {
		mistakes = append(mistakes, fmt.Errorf("--assign: %w", err))
	}
	merged.assign = override(merged.assign, given)
	if len(mistakes) == 0 {
		if err := merged.validate(); err != nil {
			mistakes = append(mistakes, err)
		}
	}
	if len(mistakes) > 0 {
		return config{}, &mistakesError{doing: "checking the settings", mistakes: mistakes}
	}
	return merged, nil
}

// override returns those of base whose MAC is not in over and those of over, by MAC.
func override(base, over []demux.Assignment) []demux.Assignment {
	replaced := make(map[demux.MAC]bool, len(over))
	for _, a := range over {
		replaced[a.MAC] = true
	}
	all := append(slices.DeleteFunc(base, func(a demux.Assignment) bool { return replaced[a.MAC] }), over...)
	demux.SortAssignments(all)
	return all
}
