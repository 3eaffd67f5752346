package harness

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

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

// SaveEvidence writes what is known of the lab into a folder: the topology, the
// state of every interface, what the demux says of itself, the log of every
// agent and what the taps of the last window kept. It goes on past failures.
func (l *Lab) SaveEvidence(ctx context.Context, folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("making a folder for evidence: %w", err)
	}
	var errs []error
	save := func(name string, content func() ([]byte, error)) {
		data, err := content()
		if err == nil {
			err = os.WriteFile(filepath.Join(folder, name), data, 0o644)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("saving %s: %w", name, err))
		}
	}
	save("lab.txt", func() ([]byte, error) { return []byte(l.String() + "\n" + l.Inputs()), nil })
	save("topology.json", func() ([]byte, error) { return pretty(l.Topology, nil) })
	save("interfaces.json", func() ([]byte, error) { return pretty(l.host.agent.Interfaces(ctx)) })
	save("status.json", func() ([]byte, error) { return pretty(l.Demux().Status(ctx)) })
	save("assignments.json", func() ([]byte, error) { return pretty(l.Demux().Assignments(ctx)) })
	save("counters.json", func() ([]byte, error) { return pretty(l.Demux().Counters(ctx)) })
	save("vlandemux.log", func() ([]byte, error) {
		log, err := l.host.agent.DemuxLog(ctx)
		return []byte(log), err
	})
	for _, n := range l.Nodes() {
		save("agent-"+n.Name+".log", func() ([]byte, error) { return []byte(n.container.Log()), nil })
	}
	l.takeClosed()
	l.swapWindow(nil) // what it saw goes into the evidence, and no verdict will come
	taps, err := l.host.agent.StopTaps(ctx)
	errs = append(errs, err)
	for _, tap := range taps {
		name := tap.Point.Name
		save(strings.ReplaceAll(name, "/", "-")+".pcapng", func() ([]byte, error) { return l.capture(ctx, name) })
	}
	return errors.Join(errs...)
}

func pretty[T any](v T, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return json.MarshalIndent(v, "", "  ")
}

// capture is what a tap of the last window kept, as pcapng.
func (l *Lab) capture(ctx context.Context, tap string) ([]byte, error) {
	stream, err := l.host.agent.TapCapture(ctx, tap)
	if err != nil {
		return nil, err
	}
	defer stream.Close() //nolint:errcheck // only read
	return io.ReadAll(stream)
}

// retained finds the octets of a frame in what a tap kept, reading each tap's
// capture once, when it is first asked for.
func (l *Lab) retained(ctx context.Context) func(tap string, fp probe.Fingerprint) ([]byte, bool) {
	taps := map[string]map[probe.Fingerprint][]byte{}
	return func(tap string, fp probe.Fingerprint) ([]byte, bool) {
		frames, read := taps[tap]
		if !read {
			frames = map[probe.Fingerprint][]byte{}
			taps[tap] = frames
			// What cannot be had is missing from a report that is red anyway.
			if data, err := l.capture(ctx, tap); err == nil {
				captured, _ := probe.ReadCapture(bytes.NewReader(data), tap)
				for _, f := range captured {
					frames[probe.FingerprintOf(f.Data)] = f.Data
				}
			}
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
