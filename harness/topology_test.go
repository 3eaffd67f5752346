package harness

import (
	"net/netip"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

func good() Topology {
	return Topology{
		Clients: []Client{{Name: "c0", MAC: MAC{2, 0, 0, 0, 0, 1}, Place: Place{VLAN: VLAN{Protocol: Dot1Q, VID: 7}}, Worker: "w0",
			Addresses: []netip.Prefix{netip.MustParsePrefix("172.16.1.100/24")}}},
		Workers: []Worker{{Name: "w0", MAC: MAC{2, 0, 0, 0, 1, 1}, Addresses: []netip.Prefix{netip.MustParsePrefix("172.16.1.5/24")}}},
	}
}

func TestAGoodTopologyIsValid(t *testing.T) {
	g := NewWithT(t)
	g.Expect(good().Validate()).To(Succeed())
}

func TestEachMistakeIsNamed(t *testing.T) {
	for name, c := range map[string]struct {
		mutate func(*Topology)
		says   string
	}{
		"no clients":            {func(t *Topology) { t.Clients = nil }, "clients: none"},
		"no workers":            {func(t *Topology) { t.Workers = nil; t.Clients[0].Worker = "" }, "workers: none"},
		"empty name":            {func(t *Topology) { t.Clients[0].Name = "" }, `client number 1: name ""`},
		"long name":             {func(t *Topology) { t.Clients[0].Name = "a-name-16-octets" }, "15 characters"},
		"name with a slash":     {func(t *Topology) { t.Clients[0].Name = "c/0" }, `name "c/0"`},
		"name of the lab's own": {func(t *Topology) { t.Clients[0].Name = "trunk0" }, "the lab uses itself"},
		"name taken":            {func(t *Topology) { t.Clients[0].Name = "w0" }, `name "w0" is taken by worker w0`},
		"MAC taken":             {func(t *Topology) { t.Clients[0].MAC = t.Workers[0].MAC }, "is taken by worker w0"},
		"group MAC":             {func(t *Topology) { t.Clients[0].MAC = MAC{1} }, "client c0: bad MAC"},
		"zero MAC":              {func(t *Topology) { t.Workers[0].MAC = MAC{} }, "worker w0: bad MAC"},
		"VID 0":                 {func(t *Topology) { t.Clients[0].VLAN.VID = 0 }, "VLAN 0 is not within 1 to 4094"},
		"VID 4095":              {func(t *Topology) { t.Clients[0].VLAN.VID = 4095 }, "VLAN 4095 is not within 1 to 4094"},
		"VLAN protocol":         {func(t *Topology) { t.Clients[0].VLAN.Protocol = 0x0800 }, "neither 802.1Q"},
		"trunk":                 {func(t *Topology) { t.Clients[0].Trunk = 1 }, "trunk 1 does not exist"},
		"trunks":                {func(t *Topology) { t.Trunks = -1 }, "trunks: -1"},
		"worker":                {func(t *Topology) { t.Clients[0].Worker = "w9" }, `worker "w9" does not exist`},
		"no address":            {func(t *Topology) { t.Clients[0].Addresses = []netip.Prefix{{}} }, "is not valid"},
		"multicast address":     {func(t *Topology) { t.Clients[0].Addresses[0] = netip.MustParsePrefix("224.0.0.1/24") }, "not a unicast address"},
		"address twice": {func(t *Topology) { t.Clients[0].Addresses = append(t.Clients[0].Addresses, t.Clients[0].Addresses[0]) },
			"is there twice"},
		"MTU": {func(t *Topology) { t.MTU = 9001 }, "MTU: 9001"},
		"IPv6 with a small MTU": {func(t *Topology) {
			t.MTU = 1000
			t.Clients[0].Addresses = []netip.Prefix{netip.MustParsePrefix("fd00::1/64")}
		}, "MTU: 1000 is not within 1280"},
		"a worker in the host's namespace with an address": {func(t *Topology) { t.Workers[0].InHost = true }, "worker w0: one worker at most"},
		"switch":   {func(t *Topology) { t.Switch = "hub" }, `switch: "hub"`},
		"attach":   {func(t *Topology) { t.Demux.Attach = "xdp" }, `attach mode "xdp"`},
		"untagged": {func(t *Topology) { t.Demux.Untagged = "maybe" }, `untagged policy "maybe"`},
		"capacity": {func(t *Topology) { t.Demux.Capacity = -1 }, "capacity -1"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			topology := good()
			c.mutate(&topology)
			g.Expect(topology.Validate()).To(MatchError(ContainSubstring(c.says)))
		})
	}
}

func TestAllMistakesComeInOneError(t *testing.T) {
	g := NewWithT(t)
	topology := good()
	topology.Clients[0].VLAN.VID = 4095
	topology.Clients[0].Worker = "w9"
	topology.Workers[0].MAC = MAC{}
	err := topology.Validate()
	g.Expect(err).To(HaveOccurred())
	g.Expect(strings.Split(err.Error(), "\n")).To(HaveLen(1 + 3))
	g.Expect(err).To(MatchError(HavePrefix("the topology has 3 mistakes:")))
}

func TestASeedGivesTheSameDrawsAgain(t *testing.T) {
	g := NewWithT(t)
	a, b := NewSeed(42, "MAC move"), NewSeed(42, "MAC move")
	g.Expect(a.Rand("vlans").Perm(16)).To(Equal(b.Rand("vlans").Perm(16)))
	g.Expect(a.BatchID("one")).To(Equal(b.BatchID("one")))
	g.Expect(a.BatchID("one")).NotTo(Equal(a.BatchID("two")))
	g.Expect(NewSeed(43, "MAC move")).NotTo(Equal(a))
	g.Expect(NewSeed(42, "MAC moves")).NotTo(Equal(a))
}
