package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"

	"github.com/vlandemux/vlandemux/harness/internal/threads"
	"github.com/vlandemux/vlandemux/harness/internal/wire"
)

// Leftovers is what the host's agent and its processes hold of the kernel at one moment, one thing a line, in sorted order. Taken before
// and after, the two must be equal. The lines are:
//   - "link host/trunk0": the interfaces of the host's namespace and the switch's;
//   - "attached program host/trunk0 tcx ingress phys2virt": the BPF programs at those links (clsact: the name of the filter);
//   - "network namespace net:[4026531840]": those held by descriptor, but for the host's own and the switches';
//   - "BPF program 7", "BPF map 7", "BPF link 7": the IDs held open by the agent and the processes it started;
//   - "pin /sys/fs/bpf/x": the files and folders below the container's BPF file system;
//   - "process vlandemux (1234)": those the agent started and that still run.
type Leftovers []string

// add adds a line.
func (l *Leftovers) add(format string, values ...any) {
	*l = append(*l, fmt.Sprintf(format, values...))
}

func (h *host) leftoverRoutes(mux *http.ServeMux) {
	handle(mux, "/leftovers", func(context.Context, Nothing) (Leftovers, error) { return h.leftovers() })
}

// Leftovers lists what the host's agent and its processes hold of the kernel now. Host only.
func (c *Client) Leftovers(ctx context.Context) (Leftovers, error) {
	return call[Nothing, Leftovers](ctx, c, "/leftovers", Nothing{})
}

// leftovers goes on past failures: what could be counted is in the result beside the error.
func (h *host) leftovers() (Leftovers, error) {
	var left Leftovers
	var errs []error
	note := func(doing string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("listing %s: %w", doing, err))
		}
	}
	note("the host's links", left.addLinks(wire.HostNode))
	if network, err := h.wired(); err == nil {
		if ns, err := network.Namespace(wire.SwitchNode); err != nil {
			note("the switch's links", err)
		} else {
			note("the switch's links", threads.Do(int(ns.Fd()), func() error { return left.addLinks(wire.SwitchNode) }))
		}
	}
	h.mu.Lock()
	switches, err := h.space.Name() // waits for the next lab
	h.mu.Unlock()
	note("network namespaces", errors.Join(err, left.addNamespaces(switches)))
	pids := append(h.demux.processes(), os.Getpid())
	for _, pid := range pids {
		note(fmt.Sprintf("the BPF objects of process %d", pid), left.addDescriptors(pid))
		if pid != os.Getpid() {
			left.add("process %s (%d)", processName(pid), pid)
		}
	}
	note("pins", left.addPins(bpffsPath))
	slices.Sort(left)
	left = slices.Compact(left) // several descriptors may lead to one object
	h.drops.disregard(&left)
	return left, errors.Join(errs...)
}

// remove takes out what others hold.
func (l *Leftovers) remove(others Leftovers) {
	*l = slices.DeleteFunc(*l, func(line string) bool { return slices.Contains(others, line) })
}
