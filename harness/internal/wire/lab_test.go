package wire

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
	"github.com/vlandemux/vlandemux/harness/internal/topology"
)

var (
	vlan2   = VLAN{Protocol: probe.Dot1Q, VID: 2}
	vlan3   = VLAN{Protocol: probe.Dot1Q, VID: 3}
	vlan2ad = VLAN{Protocol: probe.Dot1AD, VID: 2}
)

func clientMAC(i int) demux.MAC { return demux.MAC{2, 0, 0, 0, 0, byte(i + 1)} }
func workerMAC(i int) demux.MAC { return demux.MAC{2, 0, 0, 0, 1, byte(i + 1)} }

// newPlan plans clients c0, c1, … with 10.0.0.(i+1)/24 in the VLANs given, all
// on trunk0, and one worker, each in a stand-in.
func newPlan(t *testing.T, kind string, vlans ...VLAN) Plan {
	t.Helper()
	p := Plan{
		Switch: kind, Trunks: 2, PIDs: map[string]int{"w0": newStandIn(t).pid},
		Workers: []topology.Worker{{Name: "w0", MAC: workerMAC(0), Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.200/24")}}},
	}
	for i, v := range vlans {
		name := fmt.Sprintf("c%d", i)
		p.PIDs[name] = newStandIn(t).pid
		p.Clients = append(p.Clients, topology.Client{
			Name: name, MAC: clientMAC(i), Place: at(0, v), Addresses: []netip.Prefix{netip.PrefixFrom(clientIP(i), 24)},
		})
	}
	return p
}

func at(trunk int, vlan VLAN) Place { return Place{Trunk: trunk, VLAN: vlan} }

func to(client string, vlan VLAN, trunk int) Move { return Move{client, at(trunk, vlan)} }

func clientIP(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}) }

// lay applies a plan for the length of a test and checks that nothing of it is
// left afterwards.
func lay(t *testing.T, p Plan) *Network {
	t.Helper()
	g := NewWithT(t)
	before := takeInventory(t, p)
	n, err := Apply(context.Background(), p)
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() {
		g.Expect(n.Close()).To(Succeed())
		g.Expect(n.Close()).To(Succeed(), "closing twice")
		g.Expect(takeInventory(t, p)).To(Equal(before), "what is there after Close and was before Apply")
	})
	return n
}

// inventory is what a lab could leave behind.
type inventory struct {
	Links       map[string][]string // node → its interfaces
	Descriptors []string            // what this process's descriptors are of, without numbers that count up
	Programs    int                 // BPF descriptors among them
}

func takeInventory(t *testing.T, p Plan) inventory {
	t.Helper()
	g := NewWithT(t)
	inv := inventory{Links: map[string][]string{}}
	list := func(ns *namespace, err error) {
		g.Expect(err).NotTo(HaveOccurred())
		links, err := retryDump(ns.handle.LinkList)
		g.Expect(err).NotTo(HaveOccurred())
		for _, l := range links {
			inv.Links[ns.node] = append(inv.Links[ns.node], l.Attrs().Name)
		}
		slices.Sort(inv.Links[ns.node])
		g.Expect(ns.close()).To(Succeed())
	}
	list(hostNamespace())
	for name, pid := range p.PIDs {
		list(processNamespace(name, pid))
	}
	fds, err := os.ReadDir("/proc/self/fd")
	g.Expect(err).NotTo(HaveOccurred())
	kinds := map[string]int{}
	for _, fd := range fds {
		target, err := os.Readlink("/proc/self/fd/" + fd.Name())
		if err != nil {
			continue // the descriptor that ReadDir itself had open
		}
		switch {
		case len(target) > 4 && target[:4] == "net:":
			kinds["network namespace"]++
		case len(target) > 7 && target[:7] == "socket:":
			kinds["socket"]++
		case target == "anon_inode:bpf-prog" || target == "anon_inode:bpf-map" || target == "anon_inode:bpf_link":
			inv.Programs++
		}
	}
	for kind, count := range kinds {
		inv.Descriptors = append(inv.Descriptors, fmt.Sprintf("%s: %d", kind, count))
	}
	slices.Sort(inv.Descriptors)
	return inv
}
