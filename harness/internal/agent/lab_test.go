package agent

import (
	"context"
	"net/netip"
	"os"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness/internal/probe"
	"github.com/vlandemux/vlandemux/harness/internal/topology"
	"github.com/vlandemux/vlandemux/harness/internal/traffic"
	"github.com/vlandemux/vlandemux/harness/internal/wire"
)

var (
	clientMAC = probe.MAC{2, 0, 0, 0, 0, 1}
	secondMAC = probe.MAC{2, 0, 0, 0, 0, 2}
	workerMAC = probe.MAC{2, 0, 0, 0, 1, 0}
)

// smallLab is two clients in one VLAN and a worker, each an agent in a namespace of its own. Nothing demultiplexes.
type smallLab struct {
	host, client, second, worker *agentProcess
	points                       map[string]probe.TapPoint
}

func startSmallLab(t *testing.T, ctx context.Context) smallLab {
	t.Helper()
	g := NewWithT(t)
	lab := smallLab{startAgent(t, RoleHost), startAgent(t, RoleClient), startAgent(t, RoleClient), startAgent(t, RoleWorker), map[string]probe.TapPoint{}}
	for _, a := range []*agentProcess{lab.host, lab.client, lab.second, lab.worker} {
		_, err := a.Footprint(ctx) // its namespaces are in place
		g.Expect(err).NotTo(HaveOccurred())
	}
	vlan := wire.VLAN{Protocol: probe.Dot1Q, VID: 7}
	plan := wire.Plan{
		Switch: "tc", Trunks: 1,
		PIDs: map[string]int{"c0": lab.client.cmd.Process.Pid, "c1": lab.second.cmd.Process.Pid, "w0": lab.worker.cmd.Process.Pid},
		Clients: []topology.Client{
			{Name: "c0", MAC: clientMAC, Place: wire.Place{VLAN: vlan}, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")}},
			{Name: "c1", MAC: secondMAC, Place: wire.Place{VLAN: vlan}, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/24")}},
		},
		Workers: []topology.Worker{{Name: "w0", MAC: workerMAC, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.5/24")}}},
	}
	wired, err := lab.host.Wire(ctx, plan)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.Readlink(wired.Switch)).To(HavePrefix("net:["), "a way into the switch")
	g.Expect(wired.Steps).To(And(ContainElement(HaveField("Name", "links")), HaveEach(HaveField("Took", BeNumerically(">", 0)))), "what it did and how long that took")
	_, err = lab.host.Wire(ctx, plan)
	g.Expect(err).To(MatchError(ContainSubstring("wired already")))
	points, err := lab.host.TapPoints(ctx)
	g.Expect(err).NotTo(HaveOccurred())
	for _, p := range points {
		lab.points[p.Name] = p
	}
	return lab
}

func TestUnwiredHostSaysSo(t *testing.T) {
	g := NewWithT(t)
	host := startAgent(t, RoleHost)
	ctx := deadline(t, longest)
	_, err := host.Features(ctx)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(host.MissingSwitch(ctx, "tc")).To(BeEmpty())
	_, err = host.MissingSwitch(ctx, "hub")
	g.Expect(err).To(MatchError(ContainSubstring(`there is no switch "hub"`)))
	before, err := host.Leftovers(ctx) // modules of tunnels make interfaces of their own
	g.Expect(err).NotTo(HaveOccurred())
	_, err = host.Move(ctx, wire.Move{Client: "c0"})
	g.Expect(err).To(MatchError(ContainSubstring("call Wire first")))
	_, err = host.TapPoints(ctx)
	g.Expect(err).To(MatchError(ContainSubstring("call Wire first")))
	startTaps := func(points ...probe.TapPoint) error {
		_, err := host.StartTaps(ctx, points)
		return err
	}
	g.Expect(startTaps(probe.TapPoint{Name: "x", Namespace: "switch", Interface: "y"})).To(MatchError(ContainSubstring("call Wire first")))
	g.Expect(startTaps(probe.TapPoint{Name: "x", Interface: "nowhere"})).To(MatchError(ContainSubstring("tapping x")))
	g.Expect(startTaps(probe.TapPoint{Name: "lo", Interface: "lo"}, probe.TapPoint{Name: "lo", Interface: "lo"})).To(MatchError(ContainSubstring("two are called")))
	_, err = host.Retained(ctx, "x")
	g.Expect(err).To(MatchError(ContainSubstring("there is no tap")))
	after, err := host.Leftovers(ctx)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(after).To(Equal(before))
	g.Expect(after).To(And(ContainElement("link host/lo"), Not(ContainElement(MatchRegexp("^(attached|pin|BPF) ")))), "what listens to the kernel's drops since then is no lab's")
	g.Expect(host.Drops(ctx)).To(HaveField("Unavailable", BeEmpty()))
}

func TestTapsSeeWhatIsSentAnywhere(t *testing.T) {
	g := NewWithT(t)
	ctx := deadline(t, longest)
	lab := startSmallLab(t, ctx)
	tapped := []probe.TapPoint{}
	for _, p := range lab.points {
		tapped = append(tapped, p)
	}
	g.Expect(tapped).To(HaveLen(9), "both ends of four links, and the host's stack")
	_, err := lab.host.StartTaps(ctx, tapped)
	g.Expect(err).NotTo(HaveOccurred())

	fromClient := probe.Batch{Name: "from the client", ID: 1, EtherType: experimental + 1, Count: 500, Source: clientMAC, Destination: workerMAC, Size: 200}
	sent, err := lab.client.Send(ctx, traffic.SendRequest{Interface: "eth0", Batches: []probe.Batch{fromClient}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(sent.Batches[0].Frames).To(Equal(uint64(500)))
	atTrunk := probe.Batch{Name: "at the switch's trunk", ID: 2, EtherType: experimental + 2, Count: 300, Source: secondMAC, Destination: workerMAC, Size: 100}
	atTrunk.Tags = []probe.Tag{{Protocol: probe.Dot1Q, TCI: 9}}
	sent, err = lab.host.SendAt(ctx, lab.points["switch/trunk0"], traffic.SendRequest{Batches: []probe.Batch{atTrunk}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(sent.Batches[0].Frames).To(Equal(uint64(300)))
	toWorker := probe.Batch{Name: "to the worker", ID: 3, EtherType: experimental + 3, Count: 100, Source: clientMAC, Destination: workerMAC, Size: 100}
	_, err = lab.host.SendAt(ctx, lab.points["host/w0"], traffic.SendRequest{Batches: []probe.Batch{toWorker}})
	g.Expect(err).NotTo(HaveOccurred())
	inClient := probe.Batch{Name: "in the client's namespace", ID: 4, EtherType: experimental + 4, Count: 50, Source: clientMAC, Destination: workerMAC, Size: 100}
	_, err = lab.host.SendAt(ctx, lab.points["c0/eth0"], traffic.SendRequest{Batches: []probe.Batch{inClient}})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = lab.host.SendAt(ctx, lab.points["c0/eth0"], traffic.SendRequest{Interface: "other", Batches: []probe.Batch{inClient}})
	g.Expect(err).To(MatchError(ContainSubstring("leave the request's empty")))

	totals, err := lab.host.AwaitTaps(ctx, map[string]uint64{"host/trunk0": 850, "w0/eth0": 100}, longest)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(totals).To(And(HaveKeyWithValue("host/trunk0", uint64(850)), HaveKeyWithValue("w0/eth0", uint64(100))))
	began := time.Now()
	for _, frames := range []map[string]uint64{nil, {"host/trunk0": 851}, {"none": 1}} {
		g.Expect(lab.host.AwaitTaps(ctx, frames, 20*time.Millisecond)).To(HaveKeyWithValue("host/trunk0", uint64(850)))
	}
	g.Expect(time.Since(began)).To(BeNumerically(">=", 60*time.Millisecond), "three times it was still for 20 ms")
	for n := range uint64(20) { // a tap records later than the frame crosses
		justNow := probe.Batch{Name: "just now", ID: uint32(6 + n), EtherType: experimental + 6, Count: 1, Source: secondMAC, Destination: workerMAC, Size: 100, Tags: atTrunk.Tags}
		_, err = lab.host.SendAt(ctx, lab.points["switch/trunk0"], traffic.SendRequest{Batches: []probe.Batch{justNow}})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(lab.host.AwaitTaps(ctx, nil, time.Nanosecond)).To(HaveKeyWithValue("host/trunk0", 851+n))
	}
	reports, err := lab.host.MarkTaps(ctx)
	g.Expect(err).NotTo(HaveOccurred())
	for _, r := range reports {
		g.Expect(r.Err()).NotTo(HaveOccurred(), r.Point.Name)
	}
	late := probe.Batch{Name: "after the mark", ID: 5, EtherType: experimental + 5, Count: 1, Source: clientMAC, Destination: workerMAC, Size: 100}
	_, err = lab.host.SendAt(ctx, lab.points["host/w0"], traffic.SendRequest{Batches: []probe.Batch{late}})
	g.Expect(err).NotTo(HaveOccurred())
	steps := seenAt(t, ctx, lab.host, reports)
	g.Expect(steps["host/trunk0"]).To(Equal(map[uint64]int{1: 500, 2: 300, 4: 50}))
	g.Expect(steps["w0/eth0"]).To(Equal(map[uint64]int{3: 100}))
	// The second client is in the VLAN, and the switch does not know the worker: it floods, but not what came for VLAN 9.
	g.Expect(steps["c1/eth0"]).To(Equal(map[uint64]int{1: 500, 4: 50}))
	octets, _ := toWorker.Packet(7, nil)
	g.Expect(lab.host.Retained(ctx, "w0/eth0")).To(And(HaveLen(100), HaveKeyWithValue(probe.FingerprintOf(octets), octets)))

	seen, err := lab.host.StartTaps(ctx, tapped[:1])
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(seen).To(ConsistOf(HaveField("Tap", "host/w0"), HaveField("Tap", "w0/eth0")), "frames after the mark")
	g.Expect(seen).To(HaveEach(HaveField("Sighting.EtherType", late.EtherType)))
}

// experimental and a batch's ID are the EtherType of its frames.
const experimental = 0x9900

// seenAt counts the frames of batches at each tap, by their IDs.
func seenAt(t *testing.T, ctx context.Context, host *agentProcess, reports []probe.TapReport) map[string]map[uint64]int {
	t.Helper()
	g := NewWithT(t)
	body, err := host.Journeys(ctx)
	g.Expect(err).NotTo(HaveOccurred())
	defer body.Close()
	seen, atTap := map[string]map[uint64]int{}, make([]uint64, len(reports))
	for journey, err := range probe.ReadJourneys(body) {
		g.Expect(err).NotTo(HaveOccurred())
		for _, s := range journey {
			atTap[s.Tap]++
			tap := reports[s.Tap].Point.Name
			if seen[tap] == nil {
				seen[tap] = map[uint64]int{}
			}
			if id := uint64(s.EtherType) - experimental; id <= 5 {
				seen[tap][id]++
			}
		}
	}
	for i, r := range reports {
		g.Expect(atTap[i]).To(Equal(r.Frames), r.Point.Name)
	}
	return seen
}

// TestClientsTalkAcrossNamespaces has the agents of two clients of one VLAN speak to each other in every way they can.
func TestClientsTalkAcrossNamespaces(t *testing.T) {
	g := NewWithT(t)
	ctx := deadline(t, longest)
	lab := startSmallLab(t, ctx)
	pings, err := lab.client.Ping(ctx, traffic.PingRequest{Destination: netip.MustParseAddr("10.0.0.2"), Count: 5})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(pings).To(And(HaveField("Sent", 5), HaveField("Received", 5)))

	seen := make(chan traffic.HTTPSeen, 8)
	web, err := lab.second.ServeHTTP(ctx, traffic.HTTPServeRequest{Listen: netip.MustParseAddrPort("10.0.0.2:8080"), Name: "c1"}, func(s traffic.HTTPSeen) { seen <- s })
	g.Expect(err).NotTo(HaveOccurred())
	_, err = lab.second.ServeHTTP(ctx, traffic.HTTPServeRequest{Listen: netip.MustParseAddrPort("10.0.0.2:8080")}, nil)
	g.Expect(err).To(MatchError(ContainSubstring("address already in use")))
	replies, err := lab.client.HTTPGet(ctx, traffic.HTTPGetRequest{URL: "http://10.0.0.2:8080/", Count: 8})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(replies.Replies).To(HaveLen(8))
	g.Expect(replies.Replies[7]).To(And(HaveField("Server", "c1")))
	for range 8 {
		g.Eventually(seen).Should(Receive(HaveField("Remote", WithTransform(netip.AddrPort.Addr, Equal(netip.MustParseAddr("10.0.0.1"))))))
	}
	g.Expect(web.Close()).To(Succeed())
	_, err = lab.client.HTTPGet(ctx, traffic.HTTPGetRequest{URL: "http://10.0.0.2:8080/", Count: 1})
	g.Expect(err).To(MatchError(ContainSubstring("connection refused")), "closed is closed, and so is its port")

	streams, err := lab.second.ServeHTTP(ctx, traffic.HTTPServeRequest{Listen: netip.MustParseAddrPort("10.0.0.2:0"), Name: "c1"}, func(s traffic.HTTPSeen) { seen <- s })
	g.Expect(err).NotTo(HaveOccurred())
	defer streams.Close()
	for range 100 { // a chosen port can be used again at once
		tcp, err := lab.client.TCP(ctx, traffic.TCPRequest{Remote: streams.Address(), Local: netip.MustParseAddrPort("10.0.0.1:5001"), Mode: traffic.Echo, Octets: 1}, nil)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(tcp.Received).To(Equal(uint64(1)))
		g.Eventually(seen).Should(Receive(HaveField("Remote", netip.MustParseAddrPort("10.0.0.1:5001"))))
	}
	for range 3 { // a chosen port can be used again at once
		var progress []traffic.TCPProgress
		tcp, err := lab.client.TCP(ctx, traffic.TCPRequest{Remote: streams.Address(), Local: netip.MustParseAddrPort("10.0.0.1:5001"), Mode: traffic.Download, Octets: 20 << 20},
			func(p traffic.TCPProgress) { progress = append(progress, p) })
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(tcp.Received).To(Equal(uint64(20 << 20)))
		g.Expect(progress).NotTo(BeEmpty())
		g.Eventually(seen).Should(Receive(HaveField("Remote", netip.MustParseAddrPort("10.0.0.1:5001"))))
	}

	echo, err := lab.second.ServeUDP(ctx, traffic.UDPServeRequest{Listen: netip.MustParseAddrPort("10.0.0.2:5353")})
	g.Expect(err).NotTo(HaveOccurred())
	defer echo.Close()
	udp, err := lab.client.UDP(ctx, traffic.UDPRequest{Remote: echo.Address(), Local: netip.MustParseAddrPort("10.0.0.1:5002"), Count: 100, Size: 1200})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(udp).To(And(HaveField("Sent", 100), HaveField("Received", 100)))
}

func TestLeftoversShowTheLabAndItsEnd(t *testing.T) {
	g := NewWithT(t)
	ctx := deadline(t, longest)
	lab := startSmallLab(t, ctx)
	left, err := lab.host.Leftovers(ctx)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(left).To(ContainElements("link host/trunk0", "link host/w0", "link switch/trunk0", "link switch/c0", "link switch/c1"))
	g.Expect(left).To(ContainElements(HavePrefix("network namespace "), HavePrefix("attached program switch/trunk0 ")))
	g.Expect(left).To(ContainElements(HavePrefix("BPF program "), HavePrefix("BPF map ")), "the tc switch is BPF")
	again, err := lab.host.Leftovers(ctx)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(again).To(Equal(left), "looking leaves nothing behind")
}
