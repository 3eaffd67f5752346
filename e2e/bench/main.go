// Command bench measures vlandemux beside its limit, its origin and the kernel's
// own means, and labs beside bare containers. Like the suite it needs a Docker
// engine and nothing else. `make bench` runs it.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/vlandemux/vlandemux/e2e/bench/result"
	"github.com/vlandemux/vlandemux/harness"
)

type options struct {
	built   string   // folder with the programs that run in a container
	reports string   // folder for the results
	only    []string // names or groups; empty for all
	compare string   // an earlier bench.json
	kernel  string   // measure in a VM with it; empty: in a container
	rounds  int
}

func main() {
	var o options
	var only string
	flag.StringVar(&o.built, "built", "build", "folder with dockerexec and, in bench, the programs to measure")
	flag.StringVar(&o.reports, "reports", "reports", "folder for bench.json, bench.txt, bench.svg and bench.png")
	flag.StringVar(&only, "only", "", "names or groups to measure, separated by commas; all if empty")
	flag.StringVar(&o.compare, "compare", "", "bench.json of an earlier run to compare with")
	flag.StringVar(&o.kernel, "kernel", "", "measure in a virtual machine with this kernel, and keep the rows of other kernels")
	flag.IntVar(&o.rounds, "rounds", 10, "how often each variant has its turn")
	flag.Parse()
	if only != "" {
		o.only = strings.Split(only, ",")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	if o.compare != "" { // before minutes are spent
		if _, err := result.ReadJSON(o.compare); err != nil {
			return err
		}
	}
	h, err := harness.Connect(ctx, harness.Options{Log: os.Stderr})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	var results result.Run
	// What fails takes nothing from the rest.
	failed := errors.Join(o.dataplane(ctx, &results), o.labs(ctx, h, &results))
	rows := results.Rows()
	if len(rows) == 0 {
		return errors.Join(failed, fmt.Errorf("nothing was measured of %q", o.only))
	}
	return errors.Join(failed, o.report(&results, rows, machine(ctx)))
}

// wants reports whether a group of measurements, or one of it, was asked for.
func (o options) wants(group string) bool {
	return len(o.only) == 0 || slices.ContainsFunc(o.only, func(only string) bool {
		return only == group || strings.HasPrefix(only, group+"/")
	})
}

// dataplane runs what needs root in a container and collects what it prints.
func (o options) dataplane(ctx context.Context, results *result.Run) error {
	if len(o.only) > 0 && !slices.ContainsFunc(o.only, func(only string) bool { return !strings.HasPrefix(only, "lab") }) {
		return nil
	}
	built, err := filepath.Abs(o.built)
	if err != nil {
		return err
	}
	runner := []string{filepath.Join(built, "dockerexec")}
	if o.kernel != "" {
		runner = []string{filepath.Join(built, "vm"), "--kernel=" + o.kernel, "--module=openvswitch?", "--no-docker", "--timeout=1h", "--"}
	}
	args := slices.Concat(runner, []string{filepath.Join(built, "bench", "dataplane"), "-only", strings.Join(o.only, ","), "-rounds", fmt.Sprint(o.rounds)})
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Stderr = filepath.Join(built, "bench"), os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the measurements in a container: %w", err)
	}
	var errs []error
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var s result.Sample
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			errs = append(errs, fmt.Errorf("reading a measurement: %w: %s", err, lines.Text()))
			continue
		}
		if o.kernel != "" {
			s.Name += "@" + o.kernel
		}
		results.Add(s)
	}
	errs = append(errs, lines.Err())
	if err := cmd.Wait(); err != nil {
		errs = append(errs, fmt.Errorf("measuring in a container: %w", err))
	}
	return errors.Join(errs...)
}

// report writes everything, and the table to stdout too.
func (o options) report(results *result.Run, rows []result.Row, m result.Machine) error {
	path := filepath.Join(o.reports, "bench.json")
	var changes []result.Change
	if o.compare != "" { // read before it is overwritten
		var err error
		if changes, err = results.Compare(o.compare); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(o.reports, 0o755); err != nil {
		return err
	}
	kept := o.besides(path)
	var table bytes.Buffer
	fmt.Fprintf(&table, "%s\n\n", m)
	err := errors.Join(
		result.WriteTable(&table, rows, notes()),
		result.WriteJSON(path, append(rows, kept...)),
		results.WriteText(result.TextPath(path), m),
		result.WritePlot(filepath.Join(o.reports, "bench"), rows))
	if err != nil {
		return err
	}
	if o.compare != "" {
		fmt.Fprintf(&table, "\nsince %s:\n", o.compare)
		if err := result.WriteChanges(&table, changes); err != nil {
			return err
		}
	}
	fmt.Fprintf(&table, "\nrows: %s · samples for benchstat: %s · plot: %s.svg, .png\n", path, result.TextPath(path), filepath.Join(o.reports, "bench"))
	_, err = os.Stdout.Write(table.Bytes())
	return err
}

// besides are the rows of other kernels in the last bench.json.
func (o options) besides(path string) (kept []result.Row) {
	last, err := result.ReadJSON(path)
	if err != nil {
		return nil // there is none
	}
	for _, row := range last {
		if _, kernel, _ := strings.Cut(row.Name, "@"); kernel != o.kernel {
			kept = append(kept, row)
		}
	}
	return kept
}

// notes say what a variant is, and what it cannot do.
func notes() map[string]string {
	return map[string]string{
		"fed":                "frames/ without a sender's socket: the kernel hands pages to the client's end (BPF_PROG_RUN, live frames), the trunk's driver makes packets of them, 64 at a time.",
		"direct":             "one veth between client and worker, no host.",
		"limit":              "pops or pushes the tag and redirects, nothing else; of a group frame: pushes the tag, sends a copy, pops the tag.",
		"seed":               "the algorithm of BCC's vlan_learning: shared atomic counters, the location stored in three pieces with each frame, a copy sent and the frame dropped.",
		"ours-peer":          "vlandemux run --redirect peer: taps on the host's end of the worker's veth see nothing.",
		"ours-early":         "vlandemux run --early-drop xdp: taps on the trunk do not see frames of unknown MACs.",
		"redirect_peer":      "the limit with bpf_redirect_peer towards the worker: taps on the host's end of its veth see nothing.",
		"xdp":                "the limit by native XDP: a tag that the kernel has taken out of the frame is not seen, and group frames cannot be copied.",
		"macvlan-source":     "the kernel's macvlan in source mode: the tag stays on, no way back with a tag, no learning, no counters by client.",
		"u32-mirred":         "a u32 filter a client and mirred: the tag stays on, no way back, no learning; one filter after another is tried.",
		"nft-fwd":            "nftables' netdev fwd, a rule a client: the tag stays on, no way back, no learning, no counters by client; one rule after another is tried.",
		"flower-vlan-mirred": "flower, vlan pop and mirred, a filter a client, found by hash: no way back with the place learned, no counters of the wire's octets.",
		"maps-2cpus":         "memory of the maps, reckoned for so many possible CPUs from what the kernel says of them here.",
		"drop":               "drops each frame without a look at it: what sending costs.",
		"ovs-learn":          "Open vSwitch, a flow a client and learn(): after a move, answers go to the old VLAN for up to half a second; group frames of workers are dropped; a GSO packet counts once.",
		"bare":               "as many containers of the same image, made and removed side by side through the same API, and nothing else.",
	}
}

// machine describes what was measured on.
func machine(ctx context.Context) result.Machine {
	versions, _ := harness.AskEngines(ctx, []string{""}) // without an engine, nothing is known of it
	v := versions[0]
	m := result.Machine{Kernel: v.Kernel, Docker: v.Engine}
	m.CPU, m.CPUs = processors()
	return m
}

func processors() (model string, count int) {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown", 0
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(key) {
		case "model name":
			model = strings.TrimSpace(value)
		case "processor":
			count++
		}
	}
	return model, count
}
