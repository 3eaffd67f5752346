package harness

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/vlandemux/vlandemux/harness/internal/ledger"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// String is one line that says what the lab ran on and how to get it again.
func (l *Lab) String() string {
	return fmt.Sprintf("kernel %s · switch %s · attach %s · MTU %d · %d clients · %d workers · seed %s",
		l.Features.Kernel, l.Switch(), l.Attach, l.Topology.MTU, len(l.Topology.Clients), len(l.Topology.Workers), l.Seed)
}

// Inputs is what was drawn for the lab: a line for each client and each worker.
func (l *Lab) Inputs() string {
	var w strings.Builder
	table := tabwriter.NewWriter(&w, 0, 0, 2, ' ', 0)
	for _, c := range l.Topology.Clients {
		fmt.Fprintf(table, "%s\t%s\t%s\tassigned to %s\n", c.Name, c.MAC, c.Place, cmp.Or(c.Worker, "nobody"))
	}
	for _, x := range l.Topology.Workers {
		fmt.Fprintf(table, "%s\t%s\n", x.Name, x.MAC)
	}
	table.Flush() //nolint:errcheck // a Builder takes everything
	return w.String()
}

// Account is what is known of a spec besides its lab.
type Account struct {
	// Spec is its whole text, Failure why it failed, "" if it did not, Again the command that runs it once more, Revision what it was built from.
	Spec, Failure, Again, Revision string
	// Steps are what it did when.
	Steps []TimelineEntry
}

// SaveEvidence writes what is known of the lab into a folder, which it empties first. If a window is open, it is closed: what the ledger
// finds is part of it. It goes on past failures.
func (l *Lab) SaveEvidence(ctx context.Context, folder string, account Account) error {
	if err := errors.Join(os.RemoveAll(folder), os.MkdirAll(folder, 0o755)); err != nil {
		return fmt.Errorf("making a folder for evidence: %w", err)
	}
	var errs []error
	note := func(doing string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", doing, err))
		}
	}
	write := func(name string, data []byte, err error) {
		if err == nil && len(data) > 0 {
			path := filepath.Join(folder, name)
			if err = os.WriteFile(path, data, 0o644); err != nil {
				err = errors.Join(err, os.Remove(path)) // half of it would mislead
			}
		}
		note("saving "+name, err)
	}
	text := func(name, content string) { write(name, []byte(content), nil) }
	save := func(name string, v any, err error) {
		data, encoding := json.MarshalIndent(v, "", "  ")
		write(name, data, cmp.Or(err, encoding))
	}

	if w := l.openWindow(); w != nil {
		closing, cancel := context.WithTimeout(ctx, closeTimeout)
		_, err := w.Close(closing)
		cancel()
		note("closing the window that was open", err)
	}
	l.takeClosed()
	dropped := l.drops(ctx)
	host, err := l.host.agent.Evidence(ctx, l.started.UnixNano())
	note("asking the host", err)

	text("verdict.txt", l.verdicts(account))
	text("lab.txt", l.facts(account))
	save("topology.json", l.Topology, nil)
	status, err := l.Demux().Status(ctx)
	save("status.json", status, err)
	l.mu.Lock()
	before, after, events := l.state.before, DemuxState{}, slices.Clone(l.state.events)
	l.mu.Unlock()
	save("events.json", events, nil)
	save("demux-before.json", before, nil)
	if after.Assignments, err = l.Demux().Assignments(ctx); err == nil {
		after.Counters, err = l.Demux().Counters(ctx)
	}
	save("demux-after.json", after, err)
	text("namespaces.txt", host.Namespaces+strings.Join(host.Attached, "\n")+"\n")
	text("bpf.txt", host.BPF)
	text("drops.txt", dropsText(dropped))
	statistics, err := l.host.agent.Statistics(ctx)
	note("reading the namespaces' counters", err)
	text("statistics.txt", statisticsText(statistics.Before, statistics.Now))
	lines := cmp.Or(host.KernelError, "nothing\n")
	if len(host.Kernel) > 0 {
		lines = ""
	}
	for _, line := range host.Kernel {
		lines += ledger.Clock(line.Time) + " " + line.Text + "\n"
	}
	text("kernel.txt", lines)
	logs, err := l.logs(ctx)
	note("reading the logs", err)
	text("timeline.txt", l.timeline(account, logs, host.Kernel, dropped))
	note("saving capture.pcapng", l.saveCapture(ctx, filepath.Join(folder, "capture.pcapng")))
	return errors.Join(errs...)
}

// verdicts are the failure and what the ledger found in each window.
func (l *Lab) verdicts(account Account) string {
	var w strings.Builder
	fmt.Fprintf(&w, "%s\n%s\n\n", account.Spec, cmp.Or(account.Failure, "It did not fail."))
	for _, closed := range l.ClosedWindows() {
		fmt.Fprintf(&w, "== the window opened at %s\n%s\n", closed.Opened, closed.Verdict)
		if account := closed.Verdict.Account(); account != "" {
			fmt.Fprintf(&w, "%s\n", account)
		}
	}
	return w.String()
}

// facts are versions, seed, inputs, and how to get them again.
func (l *Lab) facts(account Account) string {
	text := fmt.Sprintf("%s\nagain: %s\n%s\nrevision %s · %s · Docker %s at %s\n", account.Spec, account.Again, l,
		cmp.Or(account.Revision, "not known"), runtime.Version(), l.pool.engine.Version().Engine, l.pool.engine.Host())
	for _, n := range l.Nodes() {
		text += fmt.Sprintf("%s: container %s, process %d, image %s\n", n.Name, n.Container, n.PID, n.container.of.image)
	}
	return text + "\n" + l.Inputs()
}

// retained finds the octets of a frame in what a tap kept, asking each tap once, when
// it is first asked for.
func (l *Lab) retained(ctx context.Context) func(tap string, fp probe.Fingerprint) ([]byte, bool) {
	taps := map[string]map[probe.Fingerprint][]byte{}
	return func(tap string, fp probe.Fingerprint) ([]byte, bool) {
		frames, read := taps[tap]
		if !read {
			// What cannot be had is missing from a report that is red anyway.
			frames, _ = l.host.agent.Retained(ctx, tap)
			taps[tap] = frames
		}
		octets, there := frames[fp]
		return octets, there
	}
}

// KernelComplaints is an error if the kernel has warned or oopsed since the lab
// was wired. It is the kernel of the whole machine: whoever made it complain.
func (l *Lab) KernelComplaints(ctx context.Context) error {
	now, err := l.host.agent.Kernel(ctx)
	if err != nil {
		return fmt.Errorf("asking how the kernel is: %w", err)
	}
	if now != l.Health {
		return fmt.Errorf("the kernel logged a warning or an oops during this spec (before: %+v, now: %+v): read its log (dmesg) on the machine of the Docker engine", l.Health, now)
	}
	return nil
}

// saveCapture writes one pcapng file of all taps of the last window. It has what each tap kept, and the wrong frames wherever they were seen.
func (l *Lab) saveCapture(ctx context.Context, path string) error {
	taps, err := l.host.agent.StopTaps(ctx)
	if err != nil || len(taps) == 0 {
		return err
	}
	wrong := map[probe.Fingerprint]*ledger.Rejected{}
	if windows := l.ClosedWindows(); len(windows) > 0 {
		rejected := windows[len(windows)-1].Verdict.Rejected
		for i := range rejected {
			wrong[rejected[i].Fingerprint] = &rejected[i]
		}
	}
	retained := l.retained(ctx)
	var merged probe.MergedCapture
	for _, tap := range taps {
		merged.AddTap(tap.Point.Name)
	}
	journeys, err := l.host.agent.Journeys(ctx)
	if err != nil {
		return err
	}
	defer journeys.Close() //nolint:errcheck // only read
	for steps, err := range probe.ReadJourneys(journeys) {
		if err != nil {
			return fmt.Errorf("reading what the taps saw: %w", err)
		}
		frame := wrong[steps[0].Fingerprint]
		for i := range steps {
			step := &steps[i]
			octets, _ := retained(taps[step.Tap].Point.Name, step.Fingerprint)
			comment := ""
			if frame != nil {
				comment = "wrong: " + frame.Comment
				if octets == nil {
					octets = frame.Octets
				}
			}
			merged.Add(step, octets, comment)
		}
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := errors.Join(merged.Write(file), file.Close()); err != nil {
		return errors.Join(err, os.Remove(path)) // half of it would mislead
	}
	return nil
}
