package demux_test

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/nettest"
	"golang.org/x/sync/errgroup"
)

func TestForwardsBothWays(t *testing.T) {
	eachMode(t, func(t *testing.T, mode demux.AttachMode) {
		b := start(t, demux.Options{Attach: mode})
		b.assign(mac(1), 0)

		in := fromClient(1, tag(7))
		b.sw[0].Send(in)
		b.Eventually(b.far[0].Frames).Should(Equal([][]byte{in.WithTags().Bytes()}))
		out := toClient(1)
		b.far[0].Send(out)
		b.Eventually(b.sw[0].Frames).Should(Equal([][]byte{out.WithTags(tag(7)).Bytes()}))

		b.Expect(b.client(1)).To(Equal(demux.ClientCounters{
			MAC: mac(1), Worker: b.workers[0], Location: b.location(1),
			Rx: tally(in.Bytes()), Tx: tally(out.WithTags(tag(7)).Bytes()),
		}))
		b.Expect(b.drops()).To(BeEmpty())
		b.Expect(b.far[1].Count() + b.far[2].Count() + b.sw[1].Count()).To(BeZero())
	})
}

// The reply carries the client's own tag: protocol, PCP and DEI included.
func TestReplyTagIsTheClients(t *testing.T) {
	for name, vlan := range map[string]nettest.Tag{
		"PCP and DEI":  {Protocol: 0x8100, TCI: 5<<13 | 1<<12 | 100},
		"802.1ad":      {Protocol: 0x88a8, TCI: 3<<13 | 4094},
		"priority tag": {Protocol: 0x8100, TCI: 7 << 13},
		"VLAN 0":       {Protocol: 0x8100, TCI: 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, demux.Options{})
			b.assign(mac(1), 0)
			b.learn(1, 1, vlan)
			b.far[0].Send(toClient(1))
			b.Eventually(b.sw[1].Frames).Should(Equal([][]byte{toClient(1, vlan).Bytes()}))
			b.Expect(b.drops()).To(BeEmpty())
		})
	}
}

// PCP and DEI are part of the tag of replies, but no move.
func TestReplyTagFollowsPriority(t *testing.T) {
	b := start(t, demux.Options{})
	b.assign(mac(1), 0)
	b.learn(0, 1, nettest.Tag{Protocol: 0x8100, TCI: 9})
	b.learn(0, 1, nettest.Tag{Protocol: 0x8100, TCI: 6<<13 | 9})
	b.far[0].Send(toClient(1))
	b.Eventually(b.sw[0].Frames).Should(Equal([][]byte{toClient(1, nettest.Tag{Protocol: 0x8100, TCI: 6<<13 | 9}).Bytes()}))
	b.Expect(b.events(1)).To(HaveLen(1))
}

func TestInnerTagsSurvive(t *testing.T) {
	outer := nettest.Tag{Protocol: 0x88a8, TCI: 2<<13 | 20}
	for name, inner := range map[string][]nettest.Tag{
		"one":   {{Protocol: 0x8100, TCI: 4<<13 | 1<<12 | 30}},
		"two":   {{Protocol: 0x8100, TCI: 30}, {Protocol: 0x8100, TCI: 40}},
		"three": {{Protocol: 0x88a8, TCI: 30}, {Protocol: 0x8100, TCI: 40}, {Protocol: 0x8100, TCI: 4095}},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, demux.Options{})
			b.assign(mac(1), 2)
			whole := append([]nettest.Tag{outer}, inner...)
			b.sw[0].Send(fromClient(1, whole...))
			b.Eventually(b.far[2].Frames).Should(Equal([][]byte{fromClient(1, inner...).Bytes()}))
			b.far[2].Send(toClient(1, inner...))
			b.Eventually(b.sw[0].Frames).Should(Equal([][]byte{toClient(1, whole...).Bytes()}))
			counters := b.client(1)
			b.Expect(counters.Rx).To(Equal(tally(fromClient(1, whole...).Bytes())))
			b.Expect(counters.Tx).To(Equal(tally(toClient(1, whole...).Bytes())))
		})
	}
}

func TestSeveralClientsShareAWorker(t *testing.T) {
	b := start(t, demux.Options{})
	for n := 1; n <= 3; n++ {
		b.assign(mac(n), 0)
	}
	b.learn(0, 1, tag(11))
	b.learn(0, 2, tag(12))
	b.learn(1, 3, tag(11))
	for n := 1; n <= 3; n++ {
		b.far[0].Send(toClient(n))
	}
	b.Eventually(b.sw[0].Frames).Should(Equal([][]byte{toClient(1, tag(11)).Bytes(), toClient(2, tag(12)).Bytes()}))
	b.Eventually(b.sw[1].Frames).Should(Equal([][]byte{toClient(3, tag(11)).Bytes()}))
}

func TestFollowsAMove(t *testing.T) {
	b := start(t, demux.Options{})
	b.assign(mac(1), 0)
	b.learn(0, 1, tag(11))
	b.learn(0, 1, tag(12))
	b.far[0].Send(toClient(1))
	b.Eventually(b.sw[0].Frames).Should(Equal([][]byte{toClient(1, tag(12)).Bytes()}))
	b.learn(1, 1, tag(12))
	b.far[0].Send(toClient(1))
	b.Eventually(b.sw[1].Frames).Should(Equal([][]byte{toClient(1, tag(12)).Bytes()}))
	b.Expect(b.sw[0].Count()).To(Equal(1))
}

func TestDrops(t *testing.T) {
	group := fromClient(1, tag(7))
	group.Source = demux.MAC{3, 0, 0, 0, 0, 1}
	zero := fromClient(1, tag(7))
	zero.Source = demux.MAC{}
	inner := nettest.Tag{Protocol: 0x8100, TCI: 50}
	for _, test := range []struct {
		name, reason string
		trunk        bool // sent on the trunk, else by worker 1
		frame        nettest.Frame
	}{
		{"no tag", "untagged", true, fromClient(1)},
		{"group source", "invalid_source", true, group},
		{"zero source", "invalid_source", true, zero},
		{"VID 4095", "invalid_vlan", true, fromClient(1, nettest.Tag{Protocol: 0x8100, TCI: 0xefff})},
		{"stranger", "unknown_client", true, fromClient(99, tag(7), inner)},
		{"stranger as destination", "not_assigned", false, toClient(99)},
		{"client of another worker", "not_assigned", false, toClient(1)},
		{"client that was not seen", "unlearned", false, toClient(2)},
		{"group frame without a located client", "unlearned", false, nettest.Frame{Destination: broadcast, Source: gateway, Tags: []nettest.Tag{inner}, Payload: make([]byte, 90)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := start(t, demux.Options{})
			b.assign(mac(1), 0)
			b.learn(0, 1, tag(7))
			b.assign(mac(2), 1)
			before := b.client(1)
			port := b.far[1]
			if test.trunk {
				port = b.sw[0]
			}
			port.Send(test.frame)
			b.Eventually(b.drops).Should(Equal(map[string]demux.Tally{test.reason: tally(test.frame.Bytes())}))
			b.Expect(b.client(1)).To(Equal(before))
			b.Eventually(b.far[0].Count).Should(Equal(1), "only what the demux learned from")
			b.Expect(b.far[1].Count() + b.far[2].Count() + b.sw[0].Count() + b.sw[1].Count()).To(BeZero())
		})
	}
}

func TestGroupFrameOfWorkerWithoutClients(t *testing.T) {
	b := start(t, demux.Options{})
	_, err := b.demux.AttachWorker(b.workers[2], false)
	b.Expect(err).NotTo(HaveOccurred())
	frame := nettest.Frame{Destination: broadcast, Source: gateway, Payload: make([]byte, 90)}
	b.far[2].Send(frame)
	b.Eventually(b.drops).Should(Equal(map[string]demux.Tally{"not_assigned": tally(frame.Bytes())}))
}

// The stack behind the programs gets what is passed, and nothing else.
func TestUntaggedPass(t *testing.T) {
	eachMode(t, func(t *testing.T, mode demux.AttachMode) {
		b := start(t, demux.Options{Attach: mode, Untagged: demux.UntaggedPass})
		b.assign(mac(1), 0)
		onTrunk, onWorker := nettest.OpenStack(t, "trunk0", 0x88b5), nettest.OpenStack(t, "w0", 0x88b5)
		for _, frame := range []nettest.Frame{fromClient(1, tag(7)), fromClient(99, tag(7)), fromClient(1)} {
			b.sw[0].Send(frame)
		}
		b.far[0].Send(toClient(1))
		b.far[0].Send(toClient(99))
		b.Eventually(b.drops).Should(Equal(map[string]demux.Tally{
			"unknown_client": tally(fromClient(99, tag(7)).Bytes()), "not_assigned": tally(toClient(99).Bytes()),
		}))
		b.Expect(b.counters().Passed).To(Equal(tally(fromClient(1).Bytes())))
		b.Eventually(onTrunk.Frames).Should(Equal([][]byte{fromClient(1).Bytes()}))
		b.Expect(onWorker.Count()).To(BeZero())
	})
}

// A group frame goes to the clients of its own worker, and of none whose number is like it.
func TestManyWorkersFlood(t *testing.T) {
	const workers = 20
	b := start(t, demux.Options{Capacity: workers})
	var want [][]byte
	group := nettest.Frame{Destination: broadcast, Source: gateway, Payload: make([]byte, 64)}
	for n := range workers {
		name, far := fmt.Sprint("v", n), fmt.Sprint("u", n)
		nettest.Veth(t, name, far)
		b.Expect(b.demux.Assign(mac(n), name)).To(Succeed())
		b.learn(0, n, tag(uint16(n)))
		want = append(want, group.WithTags(tag(uint16(n))).Bytes())
	}
	for n := range workers {
		nettest.Open(t, fmt.Sprint("u", n)).Send(group)
	}
	b.Eventually(b.sw[0].Frames).Should(ConsistOf(want))
}

func TestFloodsOncePerPlace(t *testing.T) {
	b := start(t, demux.Options{})
	for n := 1; n <= 7; n++ {
		b.assign(mac(n), 0)
	}
	b.assign(mac(8), 1)
	b.learn(0, 1, tag(11))
	b.learn(0, 2, nettest.Tag{Protocol: 0x8100, TCI: 5<<13 | 11}) // the same place
	b.learn(0, 3, tag(12))
	b.learn(0, 4, nettest.Tag{Protocol: 0x88a8, TCI: 11})
	b.learn(1, 5, tag(11))
	b.learn(1, 6, tag(523)) // 11 in another page of places
	b.learn(0, 8, tag(13))  // not of this worker; client 7 was never seen

	for _, inner := range [][]nettest.Tag{nil, {tag(99)}} {
		before := [2]int{b.sw[0].Count(), b.sw[1].Count()}
		flooded := b.flooded(0)
		frame := nettest.Frame{Destination: demux.MAC{1, 0, 0x5e, 0, 0, 1}, Source: gateway, Tags: inner, Payload: make([]byte, 70)}
		copyTo := func(vlan nettest.Tag) []byte {
			return frame.WithTags(append([]nettest.Tag{vlan}, inner...)...).Bytes()
		}
		b.far[0].Send(frame)
		want := [2][][]byte{
			{copyTo(tag(11)), copyTo(tag(12)), copyTo(nettest.Tag{Protocol: 0x88a8, TCI: 11})},
			{copyTo(tag(11)), copyTo(tag(523))},
		}
		for trunk := range want {
			b.Eventually(func() [][]byte { return b.sw[trunk].Frames()[before[trunk]:] }).Should(Equal(want[trunk]))
		}
		now := b.flooded(0)
		b.Expect(now.Packets - flooded.Packets).To(BeEquivalentTo(5))
		b.Expect(now.Bytes - flooded.Bytes).To(BeEquivalentTo(5 * len(copyTo(tag(11)))))
	}
	b.Expect(b.drops()).To(BeEmpty())
	b.Expect(b.client(1).Tx).To(Equal(demux.Tally{}), "group frames are the worker's")
}

// The walk over the places takes a while: the client may be ahead of it, and behind it a moment later.
func TestAGroupFrameFindsAClientThatMoves(t *testing.T) {
	b := start(t, demux.Options{})
	b.assign(mac(1), 0)
	b.learn(0, 1, tag(0))
	b.sw[0].CountOnly()
	b.far[0].CountOnly()
	done := make(chan struct{})
	var group errgroup.Group
	group.Go(func() error {
		places := [][]byte{fromClient(1, tag(0)).Bytes(), fromClient(1, tag(1000)).Bytes()}
		for i := 0; ; i++ {
			select {
			case <-done:
				return nil
			default:
				if err := b.sw[0].SendRaw(nettest.GSO{}, places[i%len(places)]); err != nil {
					return err
				}
			}
		}
	})
	toAll := nettest.Frame{Destination: broadcast, Source: gateway, Payload: make([]byte, 64)}.Bytes()
	frames := many(50_000)
	for range frames {
		b.Expect(b.far[0].SendRaw(nettest.GSO{}, toAll)).To(Succeed())
	}
	close(done)
	b.Expect(group.Wait()).To(Succeed())
	b.Eventually(func() uint64 { return b.flooded(0).Packets }).Should(BeNumerically(">=", frames))
	b.Expect(b.drops()).To(BeEmpty())
}
