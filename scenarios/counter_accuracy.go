package scenarios

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/harness"
)

// CounterAccuracy makes every kind of frame cross the demux both ways and
// demands that counters, taps and senders agree to the frame and the octet.
func CounterAccuracy() Scenario {
	return Scenario{
		Name:    "counter accuracy",
		Summary: "Counters, taps and senders agree to the frame and the octet, in both directions, whatever the frames look like.",
		Cases: []Case{
			{
				Text:     "holds for 200,000 frames of 60 to 1514 octets from six clients and their workers at once",
				Topology: sharing,
				Run:      manyFrames,
			},
			{
				Text: "holds for frames of up to 9014 octets",
				Topology: rackOf(2, func(t *harness.Topology) {
					t.MTU = 9000
				}),
				Run: jumboFrames,
			},
			{
				Text:   "holds for up to nine tags of both protocols with every PCP and DEI",
				Labels: []string{"qinq"},
				Topology: func(v Variant) harness.Topology {
					t := sharing(v)
					t.Workers[3].InHost, t.Workers[3].Addresses = true, nil // it would see a mark
					t.Trunks, t.Clients[3].Trunk = 2, 1
					return t
				},
				Run: everyTag,
			},
			{
				Text:     "counts UDP, TCP and SCTP super-packets as the frames they stand for",
				Labels:   []string{"sctp"},
				Topology: offloading,
				Run:      superPackets,
			},
			{
				Text:     "counts super-packets in tunnels, VXLAN and what else the kernel has, as the frames they stand for",
				Labels:   []string{"tunnel"},
				Topology: tunnelling,
				Run:      tunnelled,
			},
			{
				Text:   "counts TCP super-packets of more than 64 KiB as the frames they stand for",
				Labels: []string{"big-tcp"},
				Topology: func(v Variant) harness.Topology {
					t := offloading(v)
					t.SuperPacket = 180_000
					return t
				},
				Run: bigTCP,
			},
			{
				Text: "counts every dropped frame under its reason",
				Topology: func(v Variant) harness.Topology {
					t := sharing(v)
					t.Workers[0].MTU, t.Demux.GroupLimit = 1600, groupLimit
					t.Workers[3].Offloads = true // its super-packets come to the demux as such
					return t
				},
				Run: everyDrop,
			},
			{
				Text:   "counts what is too long for a worker's MTU, and carries the rest",
				Labels: []string{"mtu"},
				Topology: rackOf(2, func(t *harness.Topology) {
					t.Workers[0].MTU = 1000
					t.Workers[1].Offloads = true // and so has the trunk
				}),
				Run: narrowWorker,
			},
			{
				Text: "leaves frames without a tag to the host's stack when it is told to, and no others",
				Topology: rackOf(2, func(t *harness.Topology) {
					t.Demux.Untagged = demux.UntaggedPass
				}),
				Run: passUntagged,
			},
		},
	}
}

func broadcast() harness.MAC { return harness.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff} }
func multicast() harness.MAC { return harness.MAC{0x01, 0x00, 0x5e, 0x01, 0x02, 0x03} }

// sharing has two clients on 802.1Q and two on 802.1ad, each with a worker, and
// two more that share worker w0 with c0: one on the VLAN of c1, which has the VID of
// c0's and the other protocol, and one on that of c0. So a flood of w0 has three
// clients to reach, at two places that differ in nothing but the protocol.
func sharing(v Variant) harness.Topology {
	t := rack(v, 6)
	t.Workers = t.Workers[:4]
	for i, protocol := range []uint16{harness.Dot1Q, harness.Dot1AD, harness.Dot1AD, harness.Dot1Q} {
		t.Clients[i].VLAN.Protocol = protocol
	}
	t.Clients[1].VLAN.VID = t.Clients[0].VLAN.VID
	for i, like := range map[int]int{4: 1, 5: 0} {
		c := &t.Clients[i]
		c.VLAN, c.Worker, c.Addresses = t.Clients[like].VLAN, "w0", nil
	}
	return t
}

// sized makes a batch of count frames of 60 to 1514 octets.
func sized(b harness.Batch, count int) harness.Batch {
	b.Count, b.Size, b.MaxSize = count, harness.MinFrame, 1514
	return b
}

func manyFrames(ctx context.Context, r *Run) {
	const unicasts, groups = 225, 10 // a sender each round; groups once as broadcast, once as multicast
	const groupFrames = 2 * groups
	rounds, least := 70, 200_000
	if r.Emulated && !r.Full {
		rounds, least = 18, 50_000
		r.Step(fmt.Sprintf("scaled down: %d frames and not %d, since the processors are emulated", least, 200_000))
	}
	window := r.Introduce(ctx)
	r.Step("six clients and their workers send unicast, broadcast and multicast frames at once")
	t := r.Lab.Topology
	passed := map[string]uint64{"host/trunk0": uint64(len(t.Clients))} // at least so many frames; at first the introductions
	pass := func(node, end string, frames uint64) {
		passed[node+"/eth0"] += frames
		passed[end+"/"+node] += frames
	}
	for round := range rounds {
		var group errgroup.Group
		send := func(node string, batches ...harness.Batch) {
			group.Go(func() error { return window.Send(ctx, node, batches...) })
		}
		toGroups := func(node string, source harness.MAC) []harness.Batch {
			name := fmt.Sprintf("cast from %s, round %d", node, round+1)
			return []harness.Batch{
				sized(r.Batch("broad"+name, 0, source, broadcast()), groups), sized(r.Batch("multi"+name, 0, source, multicast()), groups),
			}
		}
		for _, c := range t.Clients {
			w := r.WorkerOf(c)
			name := func(from string) string {
				return fmt.Sprintf("unicast from %s for %s, round %d", from, c.Name, round+1)
			}
			send(c.Name, append(toGroups(c.Name, c.MAC), sized(r.Batch(name(c.Name), 0, c.MAC, w.MAC), unicasts))...)
			send(w.Name, sized(r.Batch(name(w.Name), 0, w.MAC, c.MAC), unicasts))
			pass(c.Name, "switch", unicasts+groupFrames+unicasts)
			pass(w.Name, "host", unicasts+groupFrames+unicasts)
			passed["host/trunk0"] += unicasts + groupFrames + unicasts
		}
		for _, w := range t.Workers {
			send(w.Name, toGroups(w.Name, w.MAC)...)
			pass(w.Name, "host", groupFrames)
			passed["host/trunk0"] += groupFrames * uint64(r.places(w))
		}
		r.Check(group.Wait())
		// As in each scenario at full speed, a round fits into the taps' rings,
		// however slow their readers are.
		r.Await(ctx, window, passed)
	}
	verdict := r.Close(ctx, window)
	r.Expect(verdict.Sent.Packets).To(gomega.BeNumerically(">=", least), "frames sent")
}

func jumboFrames(ctx context.Context, r *Run) {
	const rounds, each = 5, 100
	window := r.Introduce(ctx)
	arrived := map[string]uint64{}
	for round := range rounds {
		var group errgroup.Group
		for _, c := range r.Lab.Topology.Clients {
			w := r.WorkerOf(c)
			send := func(node string, source, destination harness.MAC) {
				b := r.Batch(fmt.Sprintf("jumbo from %s, round %d", node, round+1), each, source, destination)
				b.Size, b.MaxSize = 1515, harness.MaxFrame
				group.Go(func() error { return window.Send(ctx, node, b) })
			}
			send(c.Name, c.MAC, w.MAC)
			send(w.Name, w.MAC, c.MAC)
			arrived[c.Name+"/eth0"] = 1 + 2*each*uint64(round+1) // with its introduction
			arrived[w.Name+"/eth0"] = 1 + 2*each*uint64(round+1)
		}
		r.Check(group.Wait())
		r.Await(ctx, window, arrived)
	}
	r.Close(ctx, window)
}

// everyTag injects on the trunk what an access port cannot send: any TCI. The
// workers' answers must carry the tag the client was last seen with.
func everyTag(ctx context.Context, r *Run) {
	const each = 5
	clients := r.Lab.Topology.Clients[:4] // one a worker
	rng := r.Seed.Rand("inner tags")
	window := r.OpenWindow(ctx)
	atWorkers, atClients := map[string]uint64{}, map[string]uint64{}
	for pcp := range uint16(8) {
		for dei := range uint16(2) {
			for _, c := range clients {
				w := r.WorkerOf(c)
				outer := harness.Tag{Protocol: c.VLAN.Protocol, TCI: pcp<<13 | dei<<12 | c.VLAN.VID}
				name := fmt.Sprintf("%s pcp %d dei %d", c.Name, pcp, dei)
				r.Check(window.Inject(ctx, c.Trunk,
					r.Batch(name+" two tags", each, c.MAC, w.MAC).Tagged(outer, harness.Tag{Protocol: harness.Dot1Q, TCI: 7<<13 | 100}),
					r.Batch(name+" one tag", each, c.MAC, w.MAC).Tagged(outer),
					r.Batch(name+" eight tags", each, c.MAC, w.MAC).Tagged(append([]harness.Tag{outer}, inner(rng, 7)...)...)))
				atWorkers[w.Name+"/eth0"] += 3 * each
			}
			r.Await(ctx, window, atWorkers)
			for _, c := range clients {
				w := r.WorkerOf(c)
				name := fmt.Sprintf("%s pcp %d dei %d", c.Name, pcp, dei)
				many := inner(rng, 8)
				r.Send(ctx, window, w.Name,
					r.Batch(name+" answer", each, w.MAC, c.MAC),
					r.Batch(name+" tagged answer", each, w.MAC, c.MAC).Tagged(harness.Tag{Protocol: harness.Dot1Q, TCI: 3<<13 | 1<<12 | 200}),
					r.Batch(name+" answer with eight tags", each, w.MAC, c.MAC).Tagged(many...),
					r.Batch(name+" to all, with eight tags", each, w.MAC, broadcast()).Tagged(many...))
				atWorkers[w.Name+"/eth0"] += 4 * each
				atClients[c.Name+"/eth0"] += 4 * each
			}
			r.Await(ctx, window, atClients)
		}
	}
	r.Close(ctx, window)
}

func inner(rng *rand.Rand, n int) []harness.Tag {
	tags := make([]harness.Tag, n)
	for i := range tags {
		tags[i] = harness.Tag{Protocol: []uint16{harness.Dot1Q, harness.Dot1AD}[rng.IntN(2)], TCI: uint16(rng.Uint32())}
	}
	return tags
}

// groupLimit is how many group frames a second a worker may send in everyDrop.
const groupLimit = 100

// everyDrop sends what must not pass, a different number of frames for each
// reason. The clients have not been introduced: c0 is not to be seen.
func everyDrop(ctx context.Context, r *Run) {
	t := r.Lab.Topology
	c0, c1, c2, w0, w1 := t.Clients[0], t.Clients[1], t.Clients[2], t.Workers[0], t.Workers[1]
	tag := func(protocol, tci uint16) harness.Tag { return harness.Tag{Protocol: protocol, TCI: tci} }
	stranger := func(name string) harness.MAC { return station(r.Seed.Rand(name)) }
	cut := numbered(0, c2.MAC, w1.MAC, c2.VLAN.Tag(0))
	cut[16], cut[17] = 0x81, 0x00
	watching, stop := context.WithCancel(ctx)
	defer stop()
	told := watched(watching, r, r.Lab.Demux().WatchDrops)
	window := r.OpenWindow(ctx)
	r.Check(window.Inject(ctx, 0,
		r.Batch("untagged", 11, c1.MAC, w1.MAC),
		r.Batch("group source", 13, multicast(), w1.MAC).Tagged(tag(harness.Dot1Q, c1.VLAN.VID)),
		r.Batch("zero source", 17, harness.MAC{}, w1.MAC).Tagged(tag(harness.Dot1Q, c1.VLAN.VID)),
		r.Batch("VID 4095", 19, c1.MAC, w1.MAC).Tagged(tag(harness.Dot1Q, 4095)),
		r.raw("cut within their second tag", [][]byte{cut[:20], cut[:21]}),
		r.Batch("unknown client", 23, stranger("source"), w1.MAC).Tagged(tag(harness.Dot1AD, c1.VLAN.VID)),
	))
	r.Send(ctx, window, w0.Name,
		r.Batch("to a client nobody has seen", 29, w0.MAC, c0.MAC),
		r.Batch("to another worker's client", 31, w0.MAC, c1.MAC),
		r.Batch("to nobody's client", 37, w0.MAC, stranger("destination")),
		r.Batch("to a group of clients nobody has seen", 41, w0.MAC, broadcast()),
	)
	// Nothing was learned from what was dropped.
	r.Send(ctx, window, w1.Name, r.Batch("to a client of whom nothing has passed", 43, w1.MAC, c1.MAC))
	for _, c := range []harness.Client{c1, t.Clients[3], t.Clients[4], t.Clients[5]} { // the last two are w0's, at two places
		r.Send(ctx, window, c.Name, r.Batch("from "+c.Name, 1, c.MAC, r.WorkerOf(c).MAC))
	}
	r.Await(ctx, window, map[string]uint64{"w0/eth0": 29 + 31 + 37 + 41 + 2, "w1/eth0": 43 + 1, "w3/eth0": 1})
	long := func(b harness.Batch) harness.Batch { // for the trunk, whose MTU is 1508: an Ethernet header and one tag come on top
		b.Size, b.MaxSize = 1508+harness.EthernetHeader+4+1, 1600+harness.EthernetHeader
		return b
	}
	r.Send(ctx, window, w0.Name, long(r.Batch("too long", 47, w0.MAC, t.Clients[4].MAC)), long(r.Batch("to all, too long", 3, w0.MAC, broadcast())))
	const groups, packets, segments = 6*groupLimit - 1, 40, 15 // too many also for a machine that takes seconds to send them
	super := r.Batch("super-packets to all, more than w3 may send", packets, t.Workers[3].MAC, broadcast())
	client, worker := crafted(IPv4)
	super.Size, super.GSO = 0, &harness.GSO{SegmentSize: 1400, Segments: segments}
	super.Flow = &harness.Flow{Protocol: harness.TCP, Source: worker, Destination: client}
	sent := map[string]harness.Batch{w1.Name: r.Batch("to all, more than w1 may send", groups, w1.MAC, broadcast()), "w3": super}
	most := map[string]uint64{}
	for _, w := range []string{w1.Name, "w3"} {
		begun := time.Now()
		r.Send(ctx, window, w, sent[w])
		most[w] = groupLimit + segments + uint64(time.Since(begun).Seconds()*groupLimit) // those of a second may come at once
	}
	r.Close(ctx, window)
	counters := r.Counters(ctx)
	var passed uint64
	for _, w := range counters.Workers {
		if limit, limited := most[w.Worker]; limited {
			passed += w.Flooded.Packets
			r.Expect(w.Flooded.Packets).To(gomega.And(gomega.BeNumerically(">=", groupLimit), gomega.BeNumerically("<=", limit)), "group frames of %s within the limit", w.Worker)
		}
	}
	want := map[string]uint64{
		"untagged": 11, "invalid_source": 13 + 17, "invalid_vlan": 19, "unknown_client": 23,
		"unlearned": 29 + 41 + 43, "not_assigned": 31 + 37, "tag_failed": 2,
		"too_long": 47 + 2*3, "group_limit": groups + packets*segments - passed,
	}
	for _, d := range counters.Drops {
		r.Expect(d.Packets).To(gomega.Equal(want[d.Reason]), "frames dropped as %s", d.Reason)
	}
	r.Step("what vlandemux tells of drops")
	of := func(reason string, mac harness.MAC) string { return fmt.Sprintf("%s of %s", reason, mac) }
	at := map[string]string{} // where the first of each reason and MAC came in
	r.Eventually(func() map[string]string {
		for {
			select {
			case d := <-told:
				at[of(d.Reason, d.MAC)] = cmp.Or(at[of(d.Reason, d.MAC)], d.Interface)
			default:
				return at
			}
		}
	}).WithContext(ctx).WithTimeout(10 * time.Second).Should(gomega.Equal(map[string]string{
		of("untagged", c1.MAC): "trunk0", of("invalid_source", multicast()): "trunk0", of("invalid_source", harness.MAC{}): "trunk0",
		of("invalid_vlan", c1.MAC): "trunk0", of("tag_failed", c2.MAC): "trunk0", of("unknown_client", stranger("source")): "trunk0",
		of("unlearned", c0.MAC): "w0", of("not_assigned", c1.MAC): "w0", of("not_assigned", stranger("destination")): "w0",
		of("unlearned", broadcast()): "w0", of("unlearned", c1.MAC): "w1",
		of("too_long", t.Clients[4].MAC): "w0", of("too_long", broadcast()): "w0", of("group_limit", broadcast()): "w1",
	}))
}

// passUntagged sends what goes to the host's stack among frames that do not: of
// clients, of strangers, and from workers.
func passUntagged(ctx context.Context, r *Run) {
	const each = 20
	t := r.Lab.Topology
	c0, w0 := t.Clients[0], t.Workers[0]
	stranger := station(r.Seed.Rand("stranger"))
	window := r.Introduce(ctx)
	flow := func(b harness.Batch, family Family) harness.Batch {
		client, worker := crafted(family)
		b.Flow, b.Size, b.MaxSize = &harness.Flow{Protocol: harness.UDP, Source: client, Destination: worker}, 90, 1514
		return b
	}
	r.Check(window.Inject(ctx, 0,
		sized(r.Batch("untagged", each, c0.MAC, w0.MAC), each),
		flow(r.Batch("untagged IPv4", each, c0.MAC, w0.MAC), IPv4),
		flow(r.Batch("untagged IPv6 to all", each, stranger, broadcast()), IPv6),
		r.Batch("untagged from a group", each, multicast(), w0.MAC),
		r.Batch("tagged", each, c0.MAC, w0.MAC).Tagged(c0.VLAN.Tag(0)),
		r.Batch("tagged from a stranger", each, stranger, w0.MAC).Tagged(c0.VLAN.Tag(0)),
	))
	r.Send(ctx, window, w0.Name,
		r.Batch("to a client", each, w0.MAC, c0.MAC), r.Batch("to a stranger", each, w0.MAC, stranger), r.Batch("to all", each, w0.MAC, broadcast()))
	r.Close(ctx, window)
	r.Expect(r.Counters(ctx).Passed.Packets).To(gomega.BeEquivalentTo(4*each), "frames passed to the host's stack")
}

// narrowWorker sends frames of every length from 60 to 1514 octets, without a tag of their
// own and with one, to a worker that takes 1014 and to one that takes all, and their answers.
func narrowWorker(ctx context.Context, r *Run) {
	const every, rate = 1514 - harness.MinFrame + 1, 10_000 // frames, frames/s
	window := r.Introduce(ctx)
	var group errgroup.Group
	for _, c := range r.Lab.Topology.Clients {
		w := r.WorkerOf(c)
		send := func(node string, from, to harness.MAC, longest int, tags ...harness.Tag) {
			b := sized(r.Batch(fmt.Sprintf("%s with %d tags", node, len(tags)), 0, from, to), every)
			b.Size, b.MaxSize, b.Tags, b.Rate = b.Size+4*len(tags), longest, tags, rate
			group.Go(func() error { return window.Send(ctx, node, b) })
		}
		inner := harness.Tag{Protocol: harness.Dot1Q, TCI: 77}
		send(c.Name, c.MAC, w.MAC, 1514)
		send(c.Name, c.MAC, w.MAC, 1514, inner)
		send(w.Name, w.MAC, c.MAC, min(1514, harness.EthernetHeader+cmp.Or(w.MTU, 1500)))
	}
	r.Check(group.Wait())
	c0 := r.Lab.Topology.Clients[0]
	last := r.Batch("super-packets with another priority", 3, c0.MAC, r.WorkerOf(c0).MAC)
	client, worker := crafted(IPv4)
	last.Size, last.GSO, last.Flow = 0, &harness.GSO{SegmentSize: 1400, Segments: 9}, &harness.Flow{Protocol: harness.TCP, Source: client, Destination: worker}
	last.Tags = []harness.Tag{c0.VLAN.Tag(5)} // c0 is there, although none of them gets through
	r.Check(window.Inject(ctx, c0.Trunk, last))
	verdict := r.Close(ctx, window)
	r.Expect(verdict.Demux.Ended).To(gomega.And(gomega.HaveLen(1), gomega.HaveKeyWithValue("too_long", gomega.BeNumerically(">", 900))), "frames dropped")
}
