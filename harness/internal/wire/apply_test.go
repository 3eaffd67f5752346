package wire

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/vishvananda/netlink"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

func TestApplyLaysWhatThePlanSays(t *testing.T) {
	onEachSwitch(t, func(t *testing.T, kind string) {
		g := NewWithT(t)
		p := newPlan(t, kind, vlan2, vlan2ad)
		p.MTU = 4000
		p.Clients[0].Offloads = true
		n := lay(t, p)
		states := byName(t, n)
		for name, want := range map[string]struct {
			mac demux.MAC
			mtu int
			ip  string
			off bool
		}{
			"c0/eth0":       {clientMAC(0), 4000, "10.0.0.1/24", true},
			"switch/c0":     {n.clients[0].near.mac, 4000, "", true},
			"c1/eth0":       {clientMAC(1), 4000, "10.0.0.2/24", false},
			"switch/c1":     {n.clients[1].near.mac, 4000, "", false},
			"switch/trunk0": {n.trunks[0].far.mac, 4008, "", true},
			"host/trunk0":   {n.trunks[0].near.mac, 4008, "", true},
			"host/w0":       {n.workers[0].near.mac, 4000, "", false},
			"w0/eth0":       {workerMAC(0), 4000, "10.0.0.200/24", false},
		} {
			g.Expect(states).To(HaveKey(name))
			s := states[name]
			g.Expect(s.Kind).To(Equal("veth"), name)
			g.Expect(s.MAC).To(Equal(want.mac), name)
			g.Expect(s.MTU).To(Equal(want.mtu), name)
			g.Expect(s.Up).To(BeTrue(), name)
			g.Expect(s.Carrier).To(BeTrue(), name)
			var addrs []netip.Prefix
			if want.ip != "" {
				addrs = []netip.Prefix{netip.MustParsePrefix(want.ip)}
			}
			g.Expect(s.Addresses).To(Equal(addrs), name)
			for _, feature := range []string{"tx-checksum-ip-generic", "tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-udp-segmentation", "tx-generic-segmentation", "rx-gro"} {
				g.Expect(s.Offloads).To(HaveKeyWithValue(feature, want.off), "%s of %s", feature, name)
			}
		}

		var names []string
		for _, p := range n.TapPoints() {
			names = append(names, p.Name)
		}
		g.Expect(names).To(Equal([]string{
			"c0/eth0", "switch/c0", "c1/eth0", "switch/c1", "switch/trunk0", "host/trunk0", "switch/trunk1", "host/trunk1", "host/w0", "w0/eth0", "host/stack",
		}))
		_, err := n.Namespace("nobody")
		g.Expect(err).To(MatchError(ContainSubstring("no such node")))
		f, err := n.Namespace(SwitchNode)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(f).NotTo(BeNil())
	})
}

// Whatever goes wrong, and however late, Apply leaves what it found.
func TestApplyLeavesNothingAfterAnError(t *testing.T) {
	onEachSwitch(t, func(t *testing.T, kind string) {
		for name, c := range map[string]struct {
			spoil func(*WithT, *Plan)
			says  string
		}{
			"a process that is not there":           {func(g *WithT, p *Plan) { p.PIDs["w0"] = 1 << 22 }, "there is no process 4194304"},
			"a process in the host's own namespace": {func(g *WithT, p *Plan) { p.PIDs["w0"] = os.Getpid() }, "in the host's own"},
			"an interface of that name in the last worker": {func(g *WithT, p *Plan) {
				ns, err := processNamespace("w0", p.PIDs["w0"])
				g.Expect(err).NotTo(HaveOccurred())
				defer ns.close()
				attrs := netlink.NewLinkAttrs()
				attrs.Name = "eth0"
				veth := netlink.NewVeth(attrs)
				veth.PeerName = "other0"
				g.Expect(ns.handle.LinkAdd(veth)).To(Succeed())
			}, "already has an interface of that name"},
			"an address the kernel refuses": {func(_ *WithT, p *Plan) {
				p.IPv6 = true
				p.Workers[0].Addresses = []netip.Prefix{netip.MustParsePrefix("ff02::1/64")}
			}, "giving w0 the address ff02::1/64"},
		} {
			t.Run(name, func(t *testing.T) {
				g := NewWithT(t)
				p := newPlan(t, kind, vlan2, vlan3)
				good := p
				good.Workers, good.PIDs = slices.Clone(p.Workers), maps.Clone(p.PIDs)
				c.spoil(g, &p)
				before := takeInventory(t, good)
				n, err := Apply(context.Background(), p)
				g.Expect(n).To(BeNil())
				g.Expect(err).To(MatchError(ContainSubstring(c.says)))
				g.Expect(takeInventory(t, good)).To(Equal(before))
			})
		}
	})
}

func TestApplyStopsWhenItsContextEnds(t *testing.T) {
	onEachSwitch(t, func(t *testing.T, kind string) {
		g := NewWithT(t)
		p := newPlan(t, kind, vlan2)
		before := takeInventory(t, p)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err := Apply(ctx, p)
		g.Expect(err).To(MatchError(context.Canceled))
		g.Expect(takeInventory(t, p)).To(Equal(before))
	})
}

// The nodes of a lab may come one after another, in any order.
func TestNodesJoinWhenTheyAreThere(t *testing.T) {
	onEachSwitch(t, func(t *testing.T, kind string) {
		g := NewWithT(t)
		p := newPlan(t, kind, vlan2, vlan2, vlan3)
		all := p.PIDs
		p.PIDs = map[string]int{"c2": all["c2"]}
		n := lay(t, p)
		_, err := n.Namespace("w0")
		g.Expect(err).To(MatchError(ContainSubstring("no such node")))
		for _, names := range [][]string{{"w0", "c0"}, {"c1"}} {
			pids := map[string]int{}
			for _, name := range names {
				pids[name] = all[name]
			}
			steps, err := n.Join(context.Background(), pids)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(steps).To(ContainElement(HaveField("Name", "links")))
		}
		before, _, err := n.Statistics()
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(before).To(And(HaveLen(7), HaveKey("processors"), HaveKeyWithValue("c1", HaveKey("eth0 receive packets"))))
		tt := openTaps(t, n)
		up := newFrame(clientMAC(1), broadcast)
		tt.expect(t, "c1/eth0", up, map[string][]byte{"c0/eth0": up, "host/trunk0": tagged(up, vlan2)})
		down := newFrame(workerMAC(0), clientMAC(2))
		tt.expect(t, "host/trunk0", tagged(down, vlan3), map[string][]byte{"c2/eth0": down})
		_, err = n.Join(context.Background(), map[string]int{"c1": 1 << 22})
		g.Expect(err).To(MatchError(ContainSubstring("there is no process 4194304")))
	})
}

// A switch that the kernel has not got is a clear error, and one that it has
// works: what is tried is what Apply does.
func TestApplyAgreesWithMissingSwitch(t *testing.T) {
	g := NewWithT(t)
	nothing := takeInventory(t, Plan{})
	f, err := FindFeatures()
	g.Expect(err).NotTo(HaveOccurred())
	t.Logf("%+v", f)
	g.Expect(f.Kernel).NotTo(BeEmpty())
	for _, kind := range SwitchKinds() {
		missing, err := MissingSwitch(context.Background(), kind)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(takeInventory(t, Plan{})).To(Equal(nothing), "what was tried is gone")
		p := newPlan(t, kind, vlan2)
		before := takeInventory(t, p)
		n, err := Apply(context.Background(), p)
		if missing != "" {
			g.Expect(err).To(MatchError(ContainSubstring("modprobe")))
			g.Expect(missing).To(ContainSubstring("modprobe"))
		} else {
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(n.Close()).To(Succeed())
		}
		g.Expect(takeInventory(t, p)).To(Equal(before))
	}
	_, err = Apply(context.Background(), newPlan(t, "hub", vlan2))
	g.Expect(err).To(MatchError(ContainSubstring(`there is no switch "hub"`)))
}

// The demux's trunks and workers stay when the switch has ended.
func TestUnplugLeavesTheHostItsLinks(t *testing.T) {
	onEachSwitch(t, func(t *testing.T, kind string) {
		g := NewWithT(t)
		p := newPlan(t, kind, vlan2, vlan2ad)
		before := takeInventory(t, p)
		n := lay(t, p)
		wired := takeInventory(t, p).Links
		g.Expect(n.Unplug()).To(Succeed())
		unplugged := takeInventory(t, p).Links
		for _, node := range []string{HostNode, "w0"} {
			g.Expect(unplugged[node]).To(And(Equal(wired[node]), Not(Equal(before.Links[node]))), node)
		}
		g.Expect(unplugged["c1"]).To(And(Equal(before.Links["c1"]), Not(Equal(wired["c1"]))))
		_, err := n.Move(context.Background(), to("c1", vlan3, 0))
		g.Expect(err).To(MatchError(errClosed))
	})
}

// A container that ends takes its link along; the rest of the lab goes on, and
// Close has nothing to complain about.
func TestCloseAfterAContainerEnded(t *testing.T) {
	onEachSwitch(t, func(t *testing.T, kind string) {
		g := NewWithT(t)
		p := newPlan(t, kind, vlan2, vlan2)
		c0 := newStandIn(t)
		p.PIDs["c0"] = c0.pid
		n, err := Apply(context.Background(), p)
		g.Expect(err).NotTo(HaveOccurred())
		c0.exit()
		g.Expect(n.Close()).To(Succeed())
		_, err = n.Move(context.Background(), to("c1", vlan3, 0))
		g.Expect(err).To(MatchError(errClosed))
	})
}

// Labs that follow one another have one namespace for their switches, until one has left something in it.
func TestSwitchesOfOneSpace(t *testing.T) {
	onEachSwitch(t, func(t *testing.T, kind string) {
		g := NewWithT(t)
		space := &SwitchSpace{}
		lab := func(leave string) string {
			p := newPlan(t, kind, vlan2, vlan3)
			p.Space = space
			n, err := Apply(context.Background(), p)
			g.Expect(err).NotTo(HaveOccurred())
			name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", n.sw.fd()))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(space.Name()).To(Equal(name))
			if leave != "" {
				g.Expect(n.sw.handle.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: leave}, PeerName: leave + "'"})).To(Succeed())
			}
			g.Expect(n.Close()).To(Succeed())
			return name
		}
		first := lab("left")
		second := lab("")
		g.Expect(second).NotTo(Equal(first))
		if kind == "tc" { // others may leave a bridge
			g.Expect(lab("")).To(Equal(second))
		}
		g.Expect(space.Close()).To(Succeed())
		g.Expect(space.Name()).To(BeEmpty())
	})
}
