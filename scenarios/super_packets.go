package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"

	"github.com/vlandemux/vlandemux/bpf/linux"
	"github.com/vlandemux/vlandemux/harness"
)

// crafted are a client's and a worker's end of crafted packets. No node has these addresses, so that no stack answers.
func crafted(family Family) (client, worker netip.AddrPort) {
	if family == IPv6 {
		return netip.MustParseAddrPort("[2001:db8::1]:5001"), netip.MustParseAddrPort("[2001:db8:1::1]:5002")
	}
	return netip.MustParseAddrPort("192.0.2.1:5001"), netip.MustParseAddrPort("198.51.100.1:5002")
}

// offloading has IPv4 and IPv6 and leaves super-packets whole and checksums unfinished,
// but for worker w1: what goes there the kernel has to segment and finish.
func offloading(v Variant) harness.Topology {
	t := rack(v, 2)
	for i := range t.Clients {
		t.Clients[i].Addresses = []netip.Prefix{clientPrefix(IPv4), clientPrefix(IPv6)}
		t.Workers[i].Addresses = []netip.Prefix{workerPrefix(IPv4), workerPrefix(IPv6)}
		t.Clients[i].Offloads = true
		t.Workers[i].Offloads = i != 1
	}
	return t
}

func superPackets(ctx context.Context, r *Run) {
	protocols := []string{harness.TCP, harness.UDP}
	if !linux.PacketUDPSuper.In(r.Lab.Features.Kernel) {
		protocols = protocols[:1]
		r.Step(fmt.Sprintf("left out: %s; this is %s", linux.PacketUDPSuper, r.Lab.Features.Kernel))
	}
	r.Step("crafted super-packets of 2 to 45 segments")
	window := r.Introduce(ctx)
	arrived := uint64(1) // at each client and each worker: the introduction
	for _, family := range []Family{IPv4, IPv6} {
		for _, protocol := range protocols {
			for _, kind := range []superPacket{{segments: 2}, {segments: 45}, {segments: 20, options: 24}, {segments: 20, tagged: true}, {segments: 2, options: 40, tagged: true}} {
				kind.family, kind.protocol = family, protocol
				arrived += sendSuperPackets(ctx, r, window, kind)
				taps := map[string]uint64{}
				for _, c := range r.Lab.Topology.Clients {
					taps[c.Worker+"/eth0"] = arrived
				}
				r.Await(ctx, window, taps)
			}
		}
	}
	r.Close(ctx, window)

	r.Step("real datagrams and TCP streams, to a worker that takes them as they are and to one that does not")
	for _, family := range []Family{IPv4, IPv6} {
		window = r.OpenWindow(ctx)
		window.AllowSockets()
		var group errgroup.Group
		for _, c := range r.Lab.Topology.Clients {
			group.Go(func() error { return r.acceptsAll(ctx, c, family) })
		}
		r.Check(group.Wait())
		r.Close(ctx, window)
	}
	if !r.Lab.Features.SCTP {
		r.Step("left out: SCTP, which this kernel does not have")
		return
	}
	for _, family := range []Family{IPv4, IPv6} {
		sctpSuperPackets(ctx, r, family)
	}
}

// sctpSuperPackets has each client stream by SCTP to its worker and back. The chunks that its super-packets hold have lengths
// of their own, and the checksum is another than that of TCP and UDP.
func sctpSuperPackets(ctx context.Context, r *Run, family Family) {
	const octets = 256 << 10
	r.Step("associations of SCTP over " + string(family))
	window := r.OpenWindow(ctx)
	window.AllowSockets()
	var group errgroup.Group
	for _, c := range r.Lab.Topology.Clients {
		group.Go(func() error {
			local, remote := netip.AddrPortFrom(clientPrefix(family).Addr(), 0), netip.AddrPortFrom(workerPrefix(family).Addr(), 5004)
			return r.streams(ctx, c.Worker, c.Name, harness.TCPRequest{SCTP: true, Local: local, Remote: remote, Octets: octets})
		})
	}
	r.Check(group.Wait())
	verdict := r.Close(ctx, window)
	r.Expect(verdict.LongestPacket).To(gomega.BeNumerically(">", 2*1500), "octets of the longest packet: a super-packet of SCTP over %s", family)
}

// acceptsAll has a client and its worker exchange datagrams and streams through their
// stacks, which drop what has a wrong checksum.
func (r *Run) acceptsAll(ctx context.Context, c harness.Client, family Family) error {
	const octets = 2 << 20
	client, worker := r.Lab.Client(c.Name), r.Lab.Worker(c.Worker)
	remote := netip.AddrPortFrom(workerPrefix(family).Addr(), 5003)
	if err := echoes(ctx, client, worker, remote, 1); err != nil {
		return err
	}
	if linux.PacketUDPSuper.In(r.Lab.Features.Kernel) {
		err := echoes(ctx, client, worker, remote, 40)
		if err == nil && (r.WorkerOf(c).Offloads || linux.UDPSuperWithoutChecksums.In(r.Lab.Features.Kernel)) {
			err = echoes(ctx, worker, client, netip.AddrPortFrom(clientPrefix(family).Addr(), 5003), 40)
		}
		if err != nil {
			return err
		}
	}
	return r.streams(ctx, c.Worker, c.Name, harness.TCPRequest{Remote: remote, Octets: octets})
}

// streams has a client download and upload through its stack what its worker serves meanwhile.
func (r *Run) streams(ctx context.Context, worker, client string, request harness.TCPRequest) error {
	server, err := r.Lab.Worker(worker).ServeHTTP(ctx, harness.HTTPServeRequest{Listen: request.Remote, SCTP: request.SCTP, Name: worker}, nil)
	if err != nil {
		return err
	}
	for _, mode := range []harness.TCPMode{harness.Download, harness.Upload} {
		request.Mode, request.Seed = mode, 1
		report, failed := r.Lab.Client(client).TCP(ctx, request, nil)
		if failed == nil && report.Sent+report.Received < request.Octets {
			failed = fmt.Errorf("%s from %s: %s of %d octets ended after %d", client, request.Remote, mode, request.Octets, report.Sent+report.Received)
		}
		err = errors.Join(err, failed)
	}
	return errors.Join(err, server.Close())
}

// echoes sends datagrams from a node to another and back; the kernel is given so many at once there.
func echoes(ctx context.Context, from, to *harness.Node, remote netip.AddrPort, segments int) error {
	const datagrams = 120
	server, err := to.ServeUDP(ctx, harness.UDPServeRequest{Listen: remote})
	if err != nil {
		return err
	}
	got, err := from.UDP(ctx, harness.UDPRequest{Remote: remote, Count: datagrams, Size: 1200, Segments: segments, Seed: 1})
	if err == nil && got.Received != datagrams {
		err = fmt.Errorf("%d of %d datagrams came back from %s, %d sent at once", got.Received, datagrams, remote, segments)
	}
	return errors.Join(err, server.Close())
}

type superPacket struct {
	family   Family
	protocol string
	segments int
	options  int  // octets of IPv4 options or IPv6 extension headers
	tagged   bool // behind an inner tag
}

// sendSuperPackets makes every client and its worker send one another super-packets
// of one kind, and returns how many frames each worker's tap sees of them. What comes
// from a client behind an inner tag is injected on the trunk. Without an inner tag the
// worker sends some to all and some to nobody as well.
func sendSuperPackets(ctx context.Context, r *Run, window *harness.Window, kind superPacket) uint64 {
	const count = 8
	var group errgroup.Group
	for i, c := range r.Lab.Topology.Clients {
		w := r.WorkerOf(c)
		batch := func(name string, source, destination harness.MAC, from, to netip.AddrPort, tags ...harness.Tag) harness.Batch {
			b := r.Batch(fmt.Sprintf("%+v from %s", kind, name), count, source, destination)
			b.Size, b.GSO, b.Tags = 0, &harness.GSO{SegmentSize: 1400, Segments: kind.segments}, tags
			b.Flow = &harness.Flow{Protocol: kind.protocol, Source: from, Destination: to, Options: kind.options}
			return b
		}
		client, worker := crafted(kind.family)
		if !kind.tagged {
			group.Go(func() error { return window.Send(ctx, c.Name, batch(c.Name, c.MAC, w.MAC, client, worker)) })
			group.Go(func() error {
				return window.Send(ctx, w.Name, batch(w.Name, w.MAC, c.MAC, worker, client), batch(w.Name+" to all", w.MAC, broadcast(), worker, client),
					batch(w.Name+" to nobody", w.MAC, w.MAC, worker, client))
			})
			continue
		}
		outer, inner := c.VLAN.Tag(0), harness.Tag{Protocol: []uint16{harness.Dot1Q, harness.Dot1AD}[i%2], TCI: 5<<13 | 77}
		group.Go(func() error {
			return window.Inject(ctx, c.Trunk, batch(c.Name, c.MAC, w.MAC, client, worker, outer, inner))
		})
		group.Go(func() error { return window.Send(ctx, w.Name, batch(w.Name, w.MAC, c.MAC, worker, client, inner)) })
	}
	r.Check(group.Wait())
	if kind.tagged {
		return 2 * count * uint64(kind.segments)
	}
	return 4 * count * uint64(kind.segments)
}

// tunnelling is offloading with a tunnel of each kind between each client and its worker.
func tunnelling(v Variant) harness.Topology {
	t := offloading(v)
	for i, c := range t.Clients {
		t.Workers[i].Offloads = true
		for n, kind := range harness.TunnelKinds() {
			address := func(last int) netip.Prefix {
				return netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(8*n + last)}), 29)
			}
			t.Tunnels = append(t.Tunnels, harness.Tunnel{
				Kind: kind, Client: c.Name, Worker: c.Worker, ClientAddress: address(1), WorkerAddress: address(2),
			})
		}
	}
	return t
}

// tunnelled sends TCP both ways in tunnels: the frames that leave the stacks are
// super-packets within a packet.
func tunnelled(ctx context.Context, r *Run) {
	const octets = 1 << 20 // all together they fit into a tap's ring, however late its reader is
	for _, kind := range harness.TunnelKinds() {
		if slices.Contains(r.Lab.Features.MissingTunnels, kind) {
			r.Step(fmt.Sprintf("left out: %s, which this kernel has no device for", kind))
			continue
		}
		r.Step("streams in " + kind)
		window := r.OpenWindow(ctx)
		window.AllowSockets()
		var group errgroup.Group
		for _, t := range r.Lab.Topology.Tunnels {
			if t.Kind != kind {
				continue
			}
			remote := netip.AddrPortFrom(t.WorkerAddress.Addr(), 5003)
			group.Go(func() error {
				return r.streams(ctx, t.Worker, t.Client, harness.TCPRequest{Remote: remote, Octets: octets})
			})
		}
		r.Check(group.Wait())
		verdict := r.Close(ctx, window)
		r.Expect(verdict.Demux.Forwarded).To(gomega.BeNumerically(">", len(r.Lab.Topology.Clients)*2*octets/1500), "frames, super-packets counted as what they stand for")
		r.Expect(verdict.LongestPacket).To(gomega.BeNumerically(">", 10_000), "octets of the longest packet: a super-packet in %s", kind)
	}
}

// bigTCP streams both ways over links that take super-packets of more than 64 KiB, to a worker that takes
// them as they are and to one that does not.
func bigTCP(ctx context.Context, r *Run) {
	for _, family := range []Family{IPv4, IPv6} {
		r.Step("streams over " + string(family))
		window := r.OpenWindow(ctx)
		window.AllowSockets()
		var group errgroup.Group
		for _, c := range r.Lab.Topology.Clients {
			group.Go(func() error { return r.acceptsAll(ctx, c, family) })
		}
		r.Check(group.Wait())
		verdict := r.Close(ctx, window)
		if family == IPv4 && !linux.BigTCPv4.In(r.Lab.Features.Kernel) {
			r.Step(fmt.Sprintf("not expected: %s; this is %s", linux.BigTCPv4, r.Lab.Features.Kernel))
			continue
		}
		r.Expect(verdict.LongestPacket).To(gomega.BeNumerically(">", 1<<16), "octets of the longest packet over %s", family)
	}
}
