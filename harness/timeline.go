package harness

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
	"github.com/vlandemux/vlandemux/harness/internal/agent"
	"github.com/vlandemux/vlandemux/harness/internal/drops"
	"github.com/vlandemux/vlandemux/harness/internal/ledger"
	"github.com/vlandemux/vlandemux/harness/internal/wire"
)

// TimelineEntry is one thing that happened.
type TimelineEntry struct {
	Time   time.Time
	Source string // "step", "lab", "vlandemux", "kernel", "agent c0", "event", "drop", "ledger"
	Text   string
}

// mostDropsTold is how many drops a timeline has.
const mostDropsTold = 200

// timeline is everything that has a time, in one order.
func (l *Lab) timeline(account Account, logs map[string]string, kernel []agent.LogLine, dropped drops.Report) string {
	all := slices.Clone(account.Steps)
	add := func(at time.Time, source, text string) { all = append(all, TimelineEntry{at, source, text}) }
	for _, p := range l.Phases() {
		add(l.started.Add(p.Start), "lab", fmt.Sprintf("%s, %v", p.Name, p.Took.Round(time.Microsecond)))
	}
	for source, log := range logs {
		all = append(all, logEntries(source, log, l.started)...)
	}
	for _, line := range kernel {
		add(time.Unix(0, line.Time), "kernel", line.Text)
	}
	for _, d := range dropped.Drops[:min(len(dropped.Drops), mostDropsTold)] {
		add(time.Unix(0, d.Time), "drop", fmt.Sprintf("%s, %d octets", d.Kind, d.Length))
	}
	l.mu.Lock()
	for _, e := range l.state.events {
		add(e.Time, "event", fmt.Sprintf("%s %s: %s → %s", e.MAC, e.Type, place(e.From), place(e.To)))
	}
	l.mu.Unlock()
	for _, w := range l.ClosedWindows() {
		for i := range w.Verdict.WrongFrames {
			if f := &w.Verdict.WrongFrames[i]; f.First != 0 {
				add(time.Unix(0, f.First), "ledger", "first seen, and wrong: "+f.Frame)
			}
		}
	}
	slices.SortStableFunc(all, func(x, y TimelineEntry) int { return x.Time.Compare(y.Time) })
	var w strings.Builder
	for _, e := range all {
		fmt.Fprintf(&w, "%s  %-10s  %s\n", ledger.Clock(e.Time.UnixNano()), e.Source, e.Text)
	}
	return w.String()
}

func place(l *control.Location) string {
	if l == nil {
		return "nowhere"
	}
	return fmt.Sprintf("%s %s VLAN %d", l.Trunk, l.Protocol, l.VID)
}

// logTime is the time that begins a line of the project's own programs.
var logTime = regexp.MustCompile(`^time=(\S+) (.*)$`)

// logEntries takes a log apart. A line without a time has that of the line before it.
func logEntries(source, log string, start time.Time) []TimelineEntry {
	var entries []TimelineEntry
	at := start
	for line := range strings.Lines(log) {
		line = strings.TrimRight(line, "\n")
		if m := logTime.FindStringSubmatch(line); m != nil {
			if t, err := time.Parse(time.RFC3339Nano, m[1]); err == nil {
				at, line = t, m[2]
			}
		}
		entries = append(entries, TimelineEntry{Time: at, Source: source, Text: line})
	}
	return entries
}

// logs are those of vlandemux and of every agent since the lab was started, and of the images.
func (l *Lab) logs(ctx context.Context) (map[string]string, error) {
	logs := map[string]string{}
	for _, n := range l.Nodes() {
		logs["agent "+n.Name] = n.container.LogSince(n.container.logged)
		if n.image != nil {
			logs[n.Name] = n.image.Log()
		}
	}
	var err error
	logs["vlandemux"], err = l.host.agent.DemuxLog(ctx)
	return logs, err
}

// dropsText lists what the kernel has dropped since the last window was opened.
func dropsText(report drops.Report) string {
	if report.Unavailable != "" {
		return report.Unavailable + "\n"
	}
	var w strings.Builder
	t := tabwriter.NewWriter(&w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PACKETS\tCOPIED\tLOST\tAT\tREASON\tFUNCTION")
	for _, k := range report.Totals {
		fmt.Fprintf(t, "%d\t%d\t%d\t%s\t%s\t%s\n", k.Packets, k.Copied, k.Lost, k.Place(), k.Reason, k.Function)
	}
	_ = t.Flush() // a Builder takes everything
	if report.Uncounted > 0 {
		fmt.Fprintf(&w, "and %d of too many kinds to count\n", report.Uncounted)
	}
	w.WriteString("\n")
	for _, d := range report.Drops {
		fmt.Fprintf(&w, "%s  %s  %d octets: %x\n", ledger.Clock(d.Time), d.Kind, d.Length, d.Octets)
	}
	return w.String()
}

// statisticsText lists the counters of each namespace that are not 0, before and after.
func statisticsText(before, after wire.Statistics) string {
	var w strings.Builder
	t := tabwriter.NewWriter(&w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tCOUNTER\tBEFORE\tAFTER\tDIFFERENCE")
	for _, node := range slices.Sorted(maps.Keys(after)) {
		for _, counter := range slices.Sorted(maps.Keys(after[node])) {
			x, y := before[node][counter], after[node][counter]
			if x != 0 || y != 0 {
				fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%+d\n", node, counter, x, y, int64(y-x))
			}
		}
	}
	_ = t.Flush() // a Builder takes everything
	return w.String()
}

// Phase is a part of a lab's life.
type Phase struct {
	Name  string        // "containers"; a step of one is "wiring: links"
	Start time.Duration // since the lab's start
	Took  time.Duration
}

// PhaseNames are the phases in their order. Between the last "attach" and "close", what is neither "quiet" nor "ledger" is the
// scenario's traffic.
func PhaseNames() []string {
	return []string{"containers", "wiring", "attach", "quiet", "ledger", "close"}
}

// Phases are those that have ended, in the order of their ends.
func (l *Lab) Phases() []Phase {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.phases)
}

// phase is to be deferred: phase("wiring")().
func (l *Lab) phase(name string) (end func()) {
	start := time.Now()
	return func() { l.ended(name, start, time.Since(start)) }
}

func (l *Lab) ended(name string, start time.Time, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.phases = append(l.phases, Phase{Name: name, Start: start.Sub(l.started), Took: took})
}
