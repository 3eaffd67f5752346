package wire

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Describe lists the links, offloads, addresses, neighbours, routes, qdiscs and filters of each namespace, for people. What cannot be listed is told in its place.
func (n *Network) Describe() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return errClosed.Error() + "\n"
	}
	var w strings.Builder
	ethtool, err := ethtoolFamily()
	note(&w, "offloads", err)
	for _, ns := range n.nodes {
		fmt.Fprintf(&w, "== %s\n", ns.node)
		ns.describe(&w, ethtool)
		w.WriteString("\n")
	}
	return w.String()
}

func (ns *namespace) describe(w *strings.Builder, ethtool int) {
	links, err := retryDump(ns.handle.LinkList)
	if err != nil {
		fmt.Fprintf(w, "listing its links: %v\n", err)
		return
	}
	names := map[int]string{}
	for _, link := range links {
		names[link.Attrs().Index] = link.Attrs().Name
	}
	name := func(index int) string {
		if names[index] == "" {
			return fmt.Sprintf("interface %d", index)
		}
		return names[index]
	}
	for _, link := range links {
		ns.describeLink(w, link, name, ethtool)
	}
	routes, err := retryDump(func() ([]netlink.Route, error) { return ns.handle.RouteList(nil, netlink.FAMILY_ALL) })
	note(w, "routes", err)
	for _, r := range routes {
		fmt.Fprintf(w, "route %s\n", r)
	}
}

func (ns *namespace) describeLink(w *strings.Builder, link netlink.Link, name func(int) string, ethtool int) {
	a := link.Attrs()
	fmt.Fprintf(w, "%d: %s %s %s MTU %d, %s, flags %v", a.Index, a.Name, link.Type(), a.HardwareAddr, a.MTU, a.OperState, a.Flags)
	if a.ParentIndex != 0 {
		fmt.Fprintf(w, ", other end or parent: index %d", a.ParentIndex)
	}
	if a.MasterIndex != 0 {
		fmt.Fprintf(w, ", port of %s", name(a.MasterIndex))
	}
	if vlan, ok := link.(*netlink.Vlan); ok {
		fmt.Fprintf(w, ", %s VLAN %d", vlan.VlanProtocol, vlan.VlanId)
	}
	if a.Promisc != 0 {
		fmt.Fprintf(w, ", promiscuous %d times", a.Promisc)
	}
	w.WriteString("\n")
	offloads, err := ns.features(ethtool, a.Index)
	note(w, "offloads", err)
	active := slices.DeleteFunc(slices.Sorted(maps.Keys(offloads.active)), func(name string) bool { return !offloads.active[name] })
	fmt.Fprintf(w, "    offloads %s\n", strings.Join(active, " "))
	addresses, err := retryDump(func() ([]netlink.Addr, error) { return ns.handle.AddrList(link, netlink.FAMILY_ALL) })
	note(w, "addresses", err)
	for _, address := range addresses {
		fmt.Fprintf(w, "    address %s\n", address.IPNet)
	}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6, unix.AF_BRIDGE} {
		neighbours, err := retryDump(func() ([]netlink.Neigh, error) { return ns.handle.NeighList(a.Index, family) })
		if family != unix.AF_BRIDGE { // which not every kernel has
			note(w, "neighbours", err)
		}
		for _, n := range neighbours {
			if family == unix.AF_BRIDGE {
				fmt.Fprintf(w, "    forwards to %s VLAN %d, state %#x\n", n.HardwareAddr, n.Vlan, n.State)
			} else {
				fmt.Fprintf(w, "    neighbour %s at %s, state %#x\n", n.IP, n.HardwareAddr, n.State)
			}
		}
	}
	qdiscs, err := retryDump(func() ([]netlink.Qdisc, error) { return ns.handle.QdiscList(link) })
	note(w, "qdiscs", err)
	for _, q := range qdiscs {
		fmt.Fprintf(w, "    qdisc %s, %s\n", q.Type(), q.Attrs())
	}
	if !slices.ContainsFunc(qdiscs, func(q netlink.Qdisc) bool { return q.Type() == "clsact" }) {
		return
	}
	for direction, parent := range map[string]uint32{"ingress": netlink.HANDLE_MIN_INGRESS, "egress": netlink.HANDLE_MIN_EGRESS} {
		filters, err := retryDump(func() ([]netlink.Filter, error) { return ns.handle.FilterList(link, parent) })
		note(w, "filters", err)
		for _, f := range filters {
			text := f.Type()
			if bpf, ok := f.(*netlink.BpfFilter); ok {
				text = fmt.Sprintf("bpf %s, program %d, direct action %t", bpf.Name, bpf.Id, bpf.DirectAction)
			}
			fmt.Fprintf(w, "    filter at %s, priority %d, protocol %#04x: %s\n", direction, f.Attrs().Priority, f.Attrs().Protocol, text)
		}
	}
}

func note(w *strings.Builder, what string, err error) {
	if err != nil {
		fmt.Fprintf(w, "    listing its %s: %v\n", what, err)
	}
}
