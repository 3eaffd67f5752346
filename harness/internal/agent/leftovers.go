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

// Leftovers is what the host's agent and its processes hold of the kernel at one moment. Taken before and after, the two must be equal
// (compare Lines). Everything is in sorted order.
type Leftovers struct {
	// Links are the interfaces of the host's namespace and the switch's, "host/trunk0".
	Links []string `json:"links"`
	// Namespaces are the network namespaces held by descriptor, by inode number, but for the host's own and the switches'.
	Namespaces []string `json:"namespaces"`
	// Attached are the BPF programs attached at those links, "host/trunk0 tcx ingress phys2virt" (clsact: name of the filter).
	Attached []string `json:"attached"`
	// Programs, Maps and BPFLinks are the IDs held open by the agent and the processes it started.
	Programs []uint32 `json:"programs"`
	Maps     []uint32 `json:"maps"`
	BPFLinks []uint32 `json:"bpf_links"`
	// Pins are the files and folders below the container's BPF file system.
	Pins []string `json:"pins"`
	// Processes are those the agent started and that still run, "vlandemux (1234)".
	Processes []string `json:"processes"`
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
	note("network namespaces", left.addNamespaces())
	h.mu.Lock()
	switches, err := h.space.Name() // waits for the next lab
	h.mu.Unlock()
	note("network namespaces", err)
	left.Namespaces = slices.DeleteFunc(left.Namespaces, func(name string) bool { return name == switches })
	pids := append(h.demux.processes(), os.Getpid())
	for _, pid := range pids {
		note(fmt.Sprintf("the BPF objects of process %d", pid), left.addDescriptors(pid))
		if pid != os.Getpid() {
			left.Processes = append(left.Processes, fmt.Sprintf("%s (%d)", processName(pid), pid))
		}
	}
	note("pins", left.addPins(bpffsPath))
	left.sort()
	h.drops.disregard(&left)
	return left, errors.Join(errs...)
}

// remove takes out the BPF objects that others hold.
func (l *Leftovers) remove(others Leftovers) {
	for _, list := range []struct {
		ids   *[]uint32
		known []uint32
	}{{&l.Programs, others.Programs}, {&l.Maps, others.Maps}, {&l.BPFLinks, others.BPFLinks}} {
		*list.ids = slices.DeleteFunc(*list.ids, func(id uint32) bool { return slices.Contains(list.known, id) })
	}
}

// sort also removes doubles: several descriptors may lead to one object.
func (l *Leftovers) sort() {
	for _, list := range []*[]string{&l.Links, &l.Namespaces, &l.Attached, &l.Pins, &l.Processes} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	for _, list := range []*[]uint32{&l.Programs, &l.Maps, &l.BPFLinks} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
}

// Lines is one line for each thing, in an order that makes two of them comparable.
func (l Leftovers) Lines() []string {
	var lines []string
	texts := func(what string, list []string) {
		for _, item := range list {
			lines = append(lines, what+" "+item)
		}
	}
	numbers := func(what string, list []uint32) {
		for _, id := range list {
			lines = append(lines, fmt.Sprintf("%s %d", what, id))
		}
	}
	texts("link", l.Links)
	texts("network namespace", l.Namespaces)
	texts("attached program", l.Attached)
	numbers("BPF program", l.Programs)
	numbers("BPF map", l.Maps)
	numbers("BPF link", l.BPFLinks)
	texts("pin", l.Pins)
	texts("process", l.Processes)
	return lines
}
