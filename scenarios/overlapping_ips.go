package scenarios

import (
	"context"
	"net/netip"
	"time"

	"github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"

	"github.com/vlandemux/vlandemux/harness"
)

// OverlappingIPs uses identical 5-tuples everywhere at the same time: nothing
// but MAC and VLAN tells one client's packets from another's.
func OverlappingIPs() Scenario {
	return Scenario{
		Name:    "overlapping IPs",
		Summary: "Three clients use the same addresses and the same ports at the same time; each talks to its own worker only.",
		Cases: []Case{{
			Text:     "keeps identical 5-tuples apart over TCP, UDP, fragments of UDP, ICMP and what it says of the path's MTU",
			Labels:   []string{"fragments"},
			Families: []Family{IPv4, IPv6},
			Topology: rackOf(3),
			Run:      overlappingIPs,
		}},
	}
}

// The ports of the one 5-tuple that all clients share, for each protocol.
const (
	overlapServerPort = 7000
	overlapClientPort = 40000
)

func overlappingIPs(ctx context.Context, r *Run) {
	worker, client := workerPrefix(r.Family).Addr(), clientPrefix(r.Family).Addr()
	remote, local := netip.AddrPortFrom(worker, overlapServerPort), netip.AddrPortFrom(client, overlapClientPort)
	window := r.OpenWindow(ctx)
	window.AllowSockets()

	r.Step("every worker listens on the same address and ports")
	var servers []interface{ Close() error }
	for _, w := range r.Lab.Topology.Workers {
		tcp, err := r.Lab.Worker(w.Name).ServeHTTP(ctx, harness.HTTPServeRequest{Listen: remote, Name: w.Name}, nil)
		r.Check(err)
		udp, err := r.Lab.Worker(w.Name).ServeUDP(ctx, harness.UDPServeRequest{Listen: remote})
		r.Check(err)
		servers = append(servers, tcp, udp)
	}

	r.Step("every client talks over the same TCP and UDP 5-tuples and pings, all at once")
	n := len(r.Lab.Topology.Clients)
	tcp, udp, fragments, ping := make([]harness.TCPReport, n), make([]harness.UDPReport, n), make([]harness.UDPReport, n), make([]harness.PingReport, n)
	group, together := errgroup.WithContext(ctx) // who gets no answer at all does not wait for each of 200
	for i, c := range r.Lab.Topology.Clients {
		node := r.Lab.Client(c.Name)
		group.Go(func() (err error) {
			tcp[i], err = node.TCP(together, harness.TCPRequest{
				Remote: remote, Local: local, Mode: harness.Echo, Octets: 256 << 10, Seed: uint64(i) + 1,
			}, nil)
			return err
		})
		group.Go(func() (err error) {
			udp[i], err = node.UDP(together, harness.UDPRequest{Remote: remote, Local: local, Count: 200, Size: 400, Seed: uint64(i) + 1})
			return err
		})
		group.Go(func() (err error) {
			fragments[i], err = node.UDP(together, harness.UDPRequest{Remote: remote, Count: 20, Size: 7000, Seed: uint64(i) + 1})
			return err
		})
		group.Go(func() (err error) {
			ping[i], err = node.Ping(together, harness.PingRequest{Destination: worker, Count: 20, Interval: 5 * time.Millisecond})
			return err
		})
	}
	r.Check(group.Wait())
	for _, s := range servers {
		r.Check(s.Close())
	}

	r.Close(ctx, window) // which says more about a packet lost than its sender can

	for i, c := range r.Lab.Topology.Clients {
		r.Expect(tcp[i].Server).To(gomega.Equal(c.Worker), "%s's connection was served by another client's worker", c.Name)
		r.Expect(tcp[i].Received).To(gomega.Equal(uint64(256<<10)), "%s: TCP octets echoed", c.Name)
		r.Expect(udp[i].Lost).To(gomega.BeEmpty(), "%s: UDP datagrams lost", c.Name)
		r.Expect(udp[i].Received).To(gomega.Equal(200), "%s: UDP datagrams echoed", c.Name)
		r.Expect(fragments[i].Received).To(gomega.Equal(20), "%s: UDP datagrams of five fragments echoed", c.Name)
		r.Expect(ping[i].Received).To(gomega.Equal(20), "%s: pings answered", c.Name)
		r.Expect(ping[i].Duplicates).To(gomega.BeZero(), "%s: pings answered twice", c.Name)
	}
	r.Step("a router behind c0's worker says that the path is narrow")
	pathMTU(ctx, r)
}
