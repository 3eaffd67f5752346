package traffic

import (
	"context"
	"net/netip"
	"runtime"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/bpf/linux"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

var (
	macA = probe.MAC{2, 0, 0, 0, 0, 1}
	macB = probe.MAC{2, 0, 0, 0, 0, 2}
)

// inOwnNamespace runs fn on a thread in a new network namespace which holds the veth pair a and b, both up.
func inOwnNamespace(t *testing.T, mtu int, fn func(g *WithT)) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		g := NewWithT(t)
		g.Expect(unix.Unshare(unix.CLONE_NEWNET)).To(Succeed())
		pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "a", MTU: mtu}, PeerName: "b"}
		g.Expect(netlink.LinkAdd(pair)).To(Succeed())
		for _, name := range []string{"a", "b"} {
			link, err := netlink.LinkByName(name)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(netlink.LinkSetIP6AddrGenMode(link, 1)).To(Succeed()) // it sends nothing by itself
			g.Expect(netlink.LinkSetUp(link)).To(Succeed())
		}
		for _, name := range []string{"a", "b"} { // what is sent before, the kernel drops
			g.Eventually(func() (netlink.LinkOperState, error) {
				link, err := netlink.LinkByName(name)
				if err != nil {
					return 0, err
				}
				return link.Attrs().OperState, nil
			}).WithTimeout(patience).Should(BeEquivalentTo(netlink.OperUp), name)
		}
		fn(g)
	}()
	<-done
}

// ours is the frames and octets of what a tap has seen arrive from macA.
func ours(t *testing.T, tap *probe.Tap) (frames, octets uint64) {
	t.Helper()
	seen, err := tap.Sightings()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range seen {
		if s.Direction == probe.In && s.Source == macA {
			frames++
			octets += uint64(s.Length)
		}
	}
	return frames, octets
}

func TestSendCountsWhatArrives(t *testing.T) {
	report := sendCounted(t, []probe.Batch{
		{Name: "sizes", ID: 1, Count: 3000, Source: macA, Destination: macB, Size: 60, MaxSize: 1514},
		{Name: "tags", ID: 2, Count: 500, Source: macA, Destination: macB, Size: 100, Tags: []probe.Tag{{Protocol: probe.Dot1AD, TCI: 7}, {Protocol: probe.Dot1Q, TCI: 9}}},
		{Name: "paced", ID: 3, Count: 100, Source: macA, Destination: macB, Size: 9014, Rate: 1000},
		{Name: "tcp6", ID: 5, Count: 100, Source: macA, Destination: macB, Flow: flowOf("tcp", "[fd00::1]:1", "[fd00::2]:2"), GSO: &probe.GSO{SegmentSize: 1400, Segments: 45}},
	})
	g := NewWithT(t)
	g.Expect(report.Batches[2].Octets).To(Equal(uint64(100 * 9014)))
	g.Expect(report.Batches[2].Elapsed).To(BeNumerically(">=", 98*time.Millisecond), "100 frames at 1000 a second")
}

func TestSendCountsUDPSuperPackets(t *testing.T) {
	linux.PacketUDPSuper.Need(t)
	sendCounted(t, []probe.Batch{
		{Name: "udp4", ID: 4, Count: 100, Source: macA, Destination: macB, Flow: flowOf("udp", "10.0.0.1:1", "10.0.0.2:2"), GSO: &probe.GSO{SegmentSize: 1000, Segments: 20}},
	})
}

func TestSendGoesOnInWholeTurns(t *testing.T) {
	inOwnNamespace(t, 1500, func(g *WithT) {
		tap, err := probe.OpenTap(probe.TapPoint{Name: "b", Interface: "b"}, probe.TapOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		defer tap.Close()
		const perTurn, turns = 7, 3
		over, end := context.WithCancel(t.Context())
		defer end()
		batch := probe.Batch{Name: "turns", ID: 1, Count: perTurn, Source: macA, Destination: macB, Size: 60, Rate: 10_000}
		request := SendRequest{Interface: "a", Batches: []probe.Batch{batch}, Every: 2 * time.Millisecond}
		sender, err := OpenSender(request)
		g.Expect(err).NotTo(HaveOccurred())
		defer sender.Close()
		sent := make(chan uint64, 1)
		go func() {
			report, err := sender.Send(over)
			g.Expect(err).NotTo(HaveOccurred())
			sent <- report.Batches[0].Packets
		}()
		g.Eventually(tap.Total).WithTimeout(patience).Should(BeNumerically(">=", perTurn*turns))
		end()
		g.Expect(<-sent%perTurn).To(BeZero(), "frames of the last turn")
		request.Batches = []probe.Batch{batch}
		request.Batches[0].ID++
		report, err := Send(over, request)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(report.Batches[0].Packets).To(BeEquivalentTo(perTurn), "it was over before it began")
		seen, err := tap.Stop(t.Context())
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(seen.Err()).NotTo(HaveOccurred())
		sightings, err := tap.Sightings()
		g.Expect(err).NotTo(HaveOccurred())
		different := map[probe.Fingerprint]bool{}
		frames := 0
		for _, s := range sightings {
			if s.Source == macA {
				frames++
				different[s.Fingerprint] = true
			}
		}
		g.Expect(different).To(HaveLen(frames), "no frame is sent twice")
		_, err = Send(over, SendRequest{Interface: "a", Batches: []probe.Batch{{Name: "raw", Raw: [][]byte{make([]byte, 60)}}}, Every: 1})
		g.Expect(err).To(MatchError(ContainSubstring("sent twice")))
	})
}

func flowOf(protocol, from, to string) *probe.Flow {
	return &probe.Flow{Protocol: protocol, Source: netip.MustParseAddrPort(from), Destination: netip.MustParseAddrPort(to)}
}

// sendCounted sends batches and sees that what the sender counts is what arrives.
func sendCounted(t *testing.T, batches []probe.Batch) (report SendReport) {
	t.Helper()
	inOwnNamespace(t, 9000, func(g *WithT) {
		tap, err := probe.OpenTap(probe.TapPoint{Name: "b", Interface: "b"}, probe.TapOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		defer tap.Close()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		report, err = Send(ctx, SendRequest{Interface: "a", Batches: batches})
		g.Expect(err).NotTo(HaveOccurred())
		var wantFrames, wantOctets uint64
		for i, b := range report.Batches {
			frames := batches[i].Packets()
			if gso := batches[i].GSO; gso != nil {
				frames *= gso.Segments
			}
			g.Expect(b.Frames).To(BeEquivalentTo(frames), b.Name)
			g.Expect(b.Packets).To(Equal(uint64(batches[i].Packets())), b.Name)
			g.Expect(b.Retries).To(BeZero(), b.Name)
			wantFrames += b.Frames
			wantOctets += b.Octets
		}

		seen, err := tap.Stop(ctx)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(seen.Err()).NotTo(HaveOccurred())
		frames, octets := ours(t, tap)
		g.Expect(frames).To(Equal(wantFrames), "what the sender counts is what arrives")
		g.Expect(octets).To(Equal(wantOctets))
		t.Logf("%d frames, %d octets: %+v", frames, octets, report.Batches)
	})
	return report
}

func TestSendAtFullSpeedLosesNothing(t *testing.T) {
	inOwnNamespace(t, 1500, func(g *WithT) {
		tap, err := probe.OpenTap(probe.TapPoint{Name: "b", Interface: "b"}, probe.TapOptions{RingSize: 128 << 20, RetainBytes: -1})
		g.Expect(err).NotTo(HaveOccurred())
		defer tap.Close()
		var batches []probe.Batch
		for id := range uint32(4) {
			batches = append(batches, probe.Batch{Name: "flood", ID: id + 1, Count: 50000, Source: macA, Destination: macB, Size: 64})
		}
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		report, err := Send(ctx, SendRequest{Interface: "a", Batches: batches})
		g.Expect(err).NotTo(HaveOccurred())
		seen, err := tap.Stop(ctx)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(seen.Err()).NotTo(HaveOccurred())
		frames, octets := ours(t, tap)
		t.Logf("%d frames in %v, retries %d %d %d %d", frames, report.Batches[0].Elapsed,
			report.Batches[0].Retries, report.Batches[1].Retries, report.Batches[2].Retries, report.Batches[3].Retries)
		g.Expect(frames).To(Equal(uint64(200000)))
		var sent uint64
		for _, b := range report.Batches {
			sent += b.Octets
		}
		g.Expect(octets).To(Equal(sent))
	})
}

func TestSendExplainsItsErrors(t *testing.T) {
	inOwnNamespace(t, 1500, func(g *WithT) {
		good := probe.Batch{Name: "good", ID: 1, Count: 10, Source: macA, Destination: macB, Size: 60}
		send := func(iface string, batches ...probe.Batch) (SendReport, error) {
			return Send(t.Context(), SendRequest{Interface: iface, Batches: batches})
		}
		_, err := send("a")
		g.Expect(err).To(MatchError(ContainSubstring("no batch")))
		_, err = send("nowhere", good)
		g.Expect(err).To(MatchError(ContainSubstring(`"nowhere"`)))
		_, err = send("", good)
		g.Expect(err).To(HaveOccurred())
		_, err = send("a", probe.Batch{Name: "empty"})
		g.Expect(err).To(MatchError(ContainSubstring(`batch "empty"`)))

		big := good
		big.Name, big.Size = "big", 3000
		report, err := send("a", good, big)
		g.Expect(err).To(MatchError(And(ContainSubstring(`batch "big"`), ContainSubstring("3000 octets"), ContainSubstring("the MTU of a is 1500"))))
		g.Expect(report.Batches[0].Frames).To(Equal(uint64(10)), "the other batch was sent and counted")
		g.Expect(report.Batches[1].Frames).To(BeZero())

		link, err := netlink.LinkByName("a")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(netlink.LinkSetDown(link)).To(Succeed())
		_, err = send("a", good)
		g.Expect(err).To(MatchError(ContainSubstring("a is down or gone")))
	})
}

func TestSendEndsWithItsContext(t *testing.T) {
	inOwnNamespace(t, 1500, func(g *WithT) {
		arrived := func() (uint64, error) {
			link, err := netlink.LinkByName("b")
			if err != nil {
				return 0, err
			}
			return link.Attrs().Statistics.RxPackets, nil
		}
		for _, batch := range []probe.Batch{
			{Name: "slow", ID: 1, Count: 1 << 30, Rate: 20, Source: macA, Destination: macB, Size: 60},
			{Name: "fast", ID: 2, Count: 1 << 30, Source: macA, Destination: macB, Size: 60},
		} {
			before, err := arrived()
			g.Expect(err).NotTo(HaveOccurred())
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			sender, err := OpenSender(SendRequest{Interface: "a", Batches: []probe.Batch{batch}})
			g.Expect(err).NotTo(HaveOccurred())
			defer sender.Close()
			begin := time.Now()
			ended := make(chan SendReport, 1)
			go func() {
				report, err := sender.Send(ctx)
				g.Expect(err).To(MatchError(ContainSubstring("context canceled")))
				ended <- report
			}()
			g.Eventually(arrived).WithTimeout(patience).Should(BeNumerically(">", before), batch.Name)
			cancel()
			var report SendReport
			g.Eventually(ended).WithTimeout(patience).Should(Receive(&report), batch.Name)
			g.Expect(report.Batches[0].Frames).To(BeNumerically(">", 0))
			if batch.Rate > 0 {
				g.Expect(report.Batches[0].Frames).To(BeNumerically("<=", 1+time.Since(begin).Seconds()*float64(batch.Rate)))
			}
			g.Expect(arrived()).To(Equal(before+report.Batches[0].Frames), batch.Name)
		}
	})
}

func TestPing(t *testing.T) {
	for _, address := range []string{"127.0.0.1", "::1"} {
		t.Run(address, func(t *testing.T) {
			g := NewWithT(t)
			to := netip.MustParseAddr(address)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			// Two at once: each must take its own replies only.
			other := make(chan PingReport, 1)
			go func() {
				report, _ := Ping(ctx, PingRequest{Destination: to, Count: 30, Interval: time.Millisecond})
				other <- report
			}()
			report, err := Ping(ctx, PingRequest{Destination: to, Count: 20, Interval: time.Millisecond})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(report).To(And(HaveField("Sent", 20), HaveField("Received", 20), HaveField("Duplicates", 0)))
			var second PingReport
			g.Eventually(other).WithTimeout(patience).Should(Receive(&second))
			g.Expect(second).To(And(HaveField("Sent", 30), HaveField("Received", 30)))
		})
	}
}

func TestPingWithoutAnswer(t *testing.T) {
	inOwnNamespace(t, 1500, func(g *WithT) {
		link, err := netlink.LinkByName("a")
		g.Expect(err).NotTo(HaveOccurred())
		address, err := netlink.ParseAddr("10.9.9.1/24")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(netlink.AddrAdd(link, address)).To(Succeed())
		silent := netip.MustParseAddr("10.9.9.2")
		report, err := Ping(t.Context(), PingRequest{Destination: silent, Count: 3, Timeout: 30 * time.Millisecond})
		g.Expect(err).NotTo(HaveOccurred(), "silence is counted, no error")
		g.Expect(report).To(And(HaveField("Sent", 3), HaveField("Received", 0)))
		_, err = Ping(t.Context(), PingRequest{Destination: netip.MustParseAddr("192.0.2.1"), Count: 1})
		g.Expect(err).To(MatchError(ContainSubstring("network is unreachable")))
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		_, err = Ping(ctx, PingRequest{Destination: silent, Count: 1, Timeout: time.Hour})
		g.Expect(err).To(MatchError(context.DeadlineExceeded))
	})
}
