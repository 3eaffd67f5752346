package clab_test

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/harness"
	"github.com/vlandemux/vlandemux/harness/lab/internal/clab"
	"github.com/vlandemux/vlandemux/scenarios"
)

const rack = "../../rack.clab.yml"

func TestTheExampleIsReadAsItStands(t *testing.T) {
	g := NewWithT(t)
	data, err := os.ReadFile(rack)
	g.Expect(err).NotTo(HaveOccurred())
	lab, err := clab.Read(data, "/")
	g.Expect(err).NotTo(HaveOccurred())
	address := func(text string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(text)} }
	g.Expect(lab.Topology).To(Equal(harness.Topology{
		Trunks: 1,
		Clients: []harness.Client{
			{Name: "c0", MAC: harness.MAC{2, 0, 0, 0, 1, 1}, Place: harness.Place{VLAN: harness.VLAN{Protocol: harness.Dot1Q, VID: 7}}, Worker: "w0", Addresses: address("192.168.1.1/24")},
			{Name: "c1", MAC: harness.MAC{2, 0, 0, 0, 0, 2}, Place: harness.Place{VLAN: harness.VLAN{Protocol: harness.Dot1AD, VID: 8}}, Worker: "w1", Addresses: address("192.168.1.1/24")},
		},
		Workers: []harness.Worker{
			{Name: "w0", MAC: harness.MAC{2, 0, 0, 0, 0, 3}, Addresses: address("192.168.1.2/24")},
			{Name: "w1", MAC: harness.MAC{2, 0, 0, 0, 0, 4}, Addresses: address("192.168.1.2/24")},
		},
	}))
}

func TestImagesOfAFile(t *testing.T) {
	g := NewWithT(t)
	data, err := os.ReadFile(rack)
	g.Expect(err).NotTo(HaveOccurred())
	text := strings.Replace(string(data), "w0: {kind: linux,",
		`w0: {kind: linux, image: "nginx:1", cmd: "sh -c 'sleep 1; nginx'", env: {A: b c}, binds: ["www:/www:ro", "/tmp:/tmp"], cap-add: [NET_ADMIN], exec: ["ip addr", 'echo "a b" ""'],`, 1)
	text = strings.Replace(text, "topology:\n", "topology:\n  kinds: {linux: {env: {A: x, C: d}}}\n  defaults: {exec: [hostname]}\n", 1)
	lab, err := clab.Read([]byte(text), "/here")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(lab.Topology.Workers[0].Image).To(Equal(&harness.Image{
		Name: "nginx:1", Command: []string{"sh", "-c", "sleep 1; nginx"}, Environment: []string{"A=b c", "C=d"}, NetAdmin: true,
		Mounts: []harness.Mount{{Source: "/here/www", Target: "/www"}, {Source: "/tmp", Target: "/tmp", Writable: true}},
	}))
	g.Expect(lab.Exec["w0"]).To(Equal([][]string{{"hostname"}, {"ip", "addr"}, {"echo", "a b", ""}}))
}

func TestEveryScenarioComesBackAsItWas(t *testing.T) {
	exported := 0
	for _, s := range scenarios.All() {
		for _, c := range s.Cases {
			g := NewWithT(t)
			topology := c.Topology(scenarios.Variant{Attach: demux.AttachAuto, Family: scenarios.IPv4, Seed: harness.NewSeed(7, c.Text), Images: harness.Images{DHCP: "dhcp:1"}, ServersImage: "debian-servers"})
			data, err := clab.Write("x", topology, clab.Images{Host: "host:1", Node: "busybox"})
			if err != nil {
				g.Expect(err).To(MatchError(Or(ContainSubstring("tunnels"), ContainSubstring("its link is no veth"))), s.Name)
				continue
			}
			exported++
			lab, err := clab.Read(data, "/")
			g.Expect(err).NotTo(HaveOccurred(), "%s: %s", s.Name, data)
			g.Expect(lab.Topology.Trunks).To(Equal(max(topology.Trunks, 1)))
			byName := func(a, b harness.Client) int { return strings.Compare(a.Name, b.Name) }
			for i := range topology.Clients { // what containerlab has no word for
				topology.Clients[i].Offloads, topology.Clients[i].Allowed = false, nil
				if image := topology.Clients[i].Image; image != nil {
					lab.Topology.Clients[slices.IndexFunc(lab.Topology.Clients, func(c harness.Client) bool { return c.Name == topology.Clients[i].Name })].Image.Environment = image.Environment
				}
			}
			slices.SortFunc(topology.Clients, byName)
			g.Expect(lab.Topology.Clients).To(Equal(topology.Clients), s.Name)
			g.Expect(lab.Topology.Workers).To(HaveLen(len(topology.Workers)))
		}
	}
	NewWithT(t).Expect(exported).To(BeNumerically(">", 20))
}

func TestMistakesOfAFileAreNamed(t *testing.T) {
	data, err := os.ReadFile(rack)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for _, mistake := range []struct{ old, with, want string }{
		{"name: rack", "name: [", "reading the topology"},
		{"name: rack", "label: rack", "line 3: field label not found"},
		{"{kind: bridge}", "{kind: linux}", "0 nodes are the switch"},
		{"demux: {kind", "host: {kind", "the machine that it runs on"},
		{"vlandemux.role: host", "vlandemux.role: king", `"king", neither host nor switch`},
		{"c0: {kind: linux", "c0: {kind: nokia_srlinux", `its kind is "nokia_srlinux"`},
		{`vlandemux.vlan: "7"`, `vlandemux.vlan: "7x"`, "a client needs a VLAN"},
		{`vlandemux.vlan: "7"`, `vlandemux.vlan: "4095"`, "VLAN 4095 is not within"},
		{`vlandemux.vlan: "7", `, ``, "a client needs a VLAN"},
		{`02:00:00:00:01:01`, `02:00:00:00:01`, "six octets"},
		{"192.168.1.1/24", "192.168.1.1", "vlandemux.address"},
		{"vlandemux.worker: w0", "vlandemux.worker: w7", `"w7" does not exist`},
		{"c0:eth0, switch:c0", "c0:eth0, c1:eth0", "link 2, of"},
		{"c0:eth0, switch:c0", "c9:eth0, switch:c0", `"c9:eth0" is the end of no node`},
		{"c0:eth0, switch:c0", "c0:eth0", "has 1 ends"},
		{"    - endpoints: [c0:eth0, switch:c0]\n", "", "node c0: no link ends at it"},
		{"    - endpoints: [switch:trunk0, demux:trunk0]\n", "", "there is no trunk"},
		{"w0: {kind: linux,", "w0: {kind: linux, image: x, entrypoint: /x,", "an entry point of its own"},
		{"w0: {kind: linux,", "w0: {kind: linux, image: x, cap-add: [SYS_ADMIN],", "SYS_ADMIN is not possible"},
		{"w0: {kind: linux,", "w0: {kind: linux, image: x, binds: [/x],", `"/x" is none`},
		{"w0: {kind: linux,", `w0: {kind: linux, image: x, cmd: "a 'b",`, "a quote that does not end"},
	} {
		g := NewWithT(t)
		g.Expect(string(data)).To(ContainSubstring(mistake.old))
		_, err := clab.Read([]byte(strings.Replace(string(data), mistake.old, mistake.with, 1)), "/")
		g.Expect(err).To(MatchError(ContainSubstring(mistake.want)), mistake.with)
	}
}

func FuzzRead(f *testing.F) {
	data, err := os.ReadFile(rack)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		lab, err := clab.Read(data, "/")
		if err == nil {
			if err := lab.Topology.Validate(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
