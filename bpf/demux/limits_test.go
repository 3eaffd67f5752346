package demux_test

import (
	"bytes"
	"context"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/nettest"
	"golang.org/x/sys/unix"
)

const mtu = 500

// inner are tags behind the outermost.
var inner = []nettest.Tag{{Protocol: 0x88a8, TCI: 55}, {Protocol: 0x8100, TCI: 56}}

// shrink gives interfaces a small MTU, and lets the demux know.
func (b *bed) shrink(names ...string) {
	b.t.Helper()
	for _, name := range names {
		found, err := netlink.LinkByName(name)
		b.Expect(err).NotTo(HaveOccurred())
		b.Expect(netlink.LinkSetMTU(found, mtu)).To(Succeed())
	}
	b.resync()
}

// octets is a frame of that many octets, tags included.
func octets(frame nettest.Frame, n int) nettest.Frame {
	frame.Payload = nil
	frame.Payload = make([]byte, n-len(frame.Bytes()))
	return frame
}

// What is counted for a client has come through at the other end, and what has not is counted as too
// long: the programs draw the line where the kernel does.
func TestTooLongForTheWorker(t *testing.T) {
	for name, devices := range map[string][]string{"both ends": {"w0", "p0"}, "far end": {"p0"}, "near end": {"w0"}} {
		t.Run(name, func(t *testing.T) {
			b := start(t, demux.Options{})
			b.assign(mac(1), 0)
			b.assign(mac(2), 1) // takes longer ones
			b.shrink(devices...)
			var fits, tooLong [][]byte
			for n := mtu + 14; n <= mtu+26; n++ {
				for tags := range 3 {
					frame := octets(fromClient(1, append([]nettest.Tag{tag(7)}, inner[:tags]...)...), n+4)
					b.sw[0].Send(frame)
					if n > mtu+18 && tags == 0 || n > mtu+22 { // the outermost tag does not count
						tooLong = append(tooLong, frame.Bytes())
					} else {
						fits = append(fits, frame.Bytes())
					}
				}
			}
			b.sw[0].Send(octets(fromClient(2, tag(8)), 1500))
			b.Eventually(b.far[1].Count).Should(Equal(1))
			b.Expect(b.drops()).To(Equal(map[string]demux.Tally{"too_long": tally(tooLong...)}))
			b.Expect(b.client(1).Rx).To(Equal(tally(fits...)))
			b.Eventually(b.far[0].Count).Should(Equal(len(fits)))
		})
	}
}

func TestTooLongForTheTrunk(t *testing.T) {
	for name, devices := range map[string][]string{"both ends": {"trunk0", "sw0"}, "far end": {"sw0"}, "near end": {"trunk0"}} {
		t.Run(name, func(t *testing.T) { tooLongForTheTrunk(t, mtu+18, devices) })
	}
}

// Where the device leaves the tag to the kernel, the kernel drops frames that have room for the tag beside them
// only. The demux is told when that changes.
func TestTooLongForATrunkThatIsTaggedInSoftware(t *testing.T) {
	for name, devices := range map[string][]string{"both ends": {"trunk0", "sw0"}, "far end": {"sw0"}} {
		t.Run(name, func(t *testing.T) {
			tooLongForTheTrunk(t, mtu+14, devices, func() { nettest.TagInSoftware(t, "trunk0") })
		})
	}
}

// tooLongForTheTrunk demands that frames of so many octets, the outermost tag not counted, are the longest that go
// out on trunk0.
func tooLongForTheTrunk(t *testing.T, longest int, devices []string, before ...func()) {
	b := start(t, demux.Options{})
	b.assign(mac(1), 0)
	b.assign(mac(2), 0)
	b.learn(0, 1, tag(7))
	b.learn(1, 2, tag(8)) // there longer ones go
	for _, change := range before {
		change()
	}
	b.shrink(devices...)
	var fits, tooLong [][]byte
	for n := mtu + 10; n <= mtu+26; n++ {
		for tags := range 3 {
			frame := octets(toClient(1, inner[:tags]...), n)
			group := frame
			group.Destination = broadcast
			b.far[0].Send(frame)
			b.far[0].Send(group)
			if n <= longest {
				fits = append(fits, frame.WithTags(append([]nettest.Tag{tag(7)}, inner[:tags]...)...).Bytes())
			} else { // the copy was to have another tag
				tooLong = append(tooLong, frame.Bytes(), append(frame.Bytes(), 0, 0, 0, 0))
			}
		}
	}
	b.far[0].Send(octets(toClient(2), 1500))
	const sizes = 17 * 3
	b.Eventually(b.sw[1].Count).Should(Equal(sizes + 1))
	b.Expect(b.drops()).To(Equal(map[string]demux.Tally{"too_long": tally(tooLong...)}))
	b.Expect(b.client(1).Tx).To(Equal(tally(fits...)))
	b.Eventually(b.sw[0].Count).Should(Equal(2 * len(fits)))
	b.Expect(b.flooded(0).Packets).To(BeEquivalentTo(len(fits) + sizes))
}

// The other end is mostly in another namespace.
func TestTooLongForTheOtherEndInItsNamespace(t *testing.T) {
	b := start(t, demux.Options{})
	b.assign(mac(1), 0)
	here, err := netns.Get()
	b.Expect(err).NotTo(HaveOccurred())
	defer here.Close()
	there, err := netns.New()
	b.Expect(err).NotTo(HaveOccurred())
	defer there.Close()
	b.Expect(netns.Set(here)).To(Succeed())
	p0, err := netlink.LinkByName("p0")
	b.Expect(err).NotTo(HaveOccurred())
	b.Expect(netlink.LinkSetNsFd(p0, int(there))).To(Succeed())
	far, err := netlink.NewHandleAt(there, unix.NETLINK_ROUTE)
	b.Expect(err).NotTo(HaveOccurred())
	defer far.Close()
	b.Expect(far.LinkSetIP6AddrGenMode(p0, 1)).To(Succeed()) // it sends nothing by itself
	b.Expect(far.LinkSetUp(p0)).To(Succeed())
	b.Expect(nettest.AwaitOperational("w0")).To(Succeed())
	ctx, stop := context.WithCancel(t.Context())
	changed, ended := make(chan demux.Change, 10), make(chan error)
	go func() {
		ended <- b.demux.Follow(ctx, demux.FollowOptions{Looked: func() {}, Changed: func(c demux.Change) { changed <- c }})
	}()
	defer func() {
		stop()
		b.Expect(<-ended).To(Succeed())
	}()
	frame := octets(fromClient(1, tag(7)), mtu+23)
	b.Expect(far.LinkSetMTU(p0, mtu)).To(Succeed())
	b.Eventually(changed).Should(Receive(HaveField("What", ContainSubstring("takes an MTU of 500"))))
	b.sw[0].Send(frame)
	b.Eventually(b.drops).Should(Equal(map[string]demux.Tally{"too_long": tally(frame.Bytes())}))
	b.Expect(far.LinkSetMTU(p0, mtu+1)).To(Succeed())
	b.Eventually(changed).Should(Receive(HaveField("What", ContainSubstring("takes an MTU of 501"))))
	b.sw[0].Send(frame)
	b.Eventually(func() demux.Tally { return b.client(1).Rx }).Should(Equal(tally(frame.Bytes())))
}

// The kernel lets a super-packet through whatever the MTU, and whoever makes frames of it cannot.
func TestTooLongSegments(t *testing.T) {
	b := start(t, demux.Options{})
	b.assign(mac(1), 0)
	b.shrink("w0", "p0")
	const headers = 14 + 20 + 20
	for size, reason := range map[int]string{mtu + 18 - headers: "", mtu + 19 - headers: "too_long"} {
		packet := superPacket{size: size, payload: 3*size - 1, tags: []nettest.Tag{tag(7)}}
		gso, frame := packet.build(gateway, mac(1))
		b.Expect(b.sw[0].SendRaw(gso, frame)).To(Succeed())
		count := func() uint64 { return b.client(1).Rx.Packets }
		if reason != "" {
			count = func() uint64 { return b.drops()[reason].Packets }
		}
		b.Eventually(count).Should(BeEquivalentTo(3), "segments of %d octets", size)
	}
}

// Of a super-packet whose headers cannot be told nobody knows how long its segments are: it is never too long, with an
// inner tag or without.
func TestSegmentsOfUnknownLength(t *testing.T) {
	b := start(t, demux.Options{})
	b.assign(mac(1), 0)
	for i, tags := range [][]nettest.Tag{{tag(7)}, {tag(7), tag(8)}} {
		packet := superPacket{v6: true, extensions: bytes.Repeat([]byte{60}, 9), size: 400, payload: 1000, tags: tags} // one extension too many
		gso, frame := packet.build(gateway, mac(1))
		b.Expect(b.sw[0].SendRaw(gso, frame)).To(Succeed())
		b.Eventually(func() uint64 { return b.client(1).Rx.Packets }).Should(BeEquivalentTo(3*(i+1)), "frames with %d tags, drops %v", len(tags), b.drops())
	}
}

// A restart knows the limits from its first frame on, and the least of several trunks does not hold for
// the others.
func TestLimitsSurvive(t *testing.T) {
	eachMode(t, func(t *testing.T, mode demux.AttachMode) {
		nettest.Enter(t)
		opts := demux.Options{Attach: mode, PinPath: nettest.BPFFS(t)}
		b := startHere(t, opts)
		b.assign(mac(1), 0)
		b.shrink("w0")
		for _, opts.Capacity = range []int{16, 100} { // the same maps, and others
			long := octets(fromClient(1, tag(7)), mtu+23)
			before := b.drops()["too_long"].Packets
			b.sw[0].Send(long)
			b.Eventually(func() uint64 { return b.drops()["too_long"].Packets }).Should(Equal(before + 1))
			b.Expect(b.client(1).Rx.Packets).To(BeZero())
			b.Expect(b.demux.Close()).To(Succeed())
			b.sw[0].Send(long) // nobody there
			b.demux = b.load(opts)
		}
		b.Eventually(func() uint64 { return b.drops()["too_long"].Packets }).Should(BeEquivalentTo(4))
	})
}

func TestTrunkIsDown(t *testing.T) {
	eachMode(t, func(t *testing.T, mode demux.AttachMode) {
		b := start(t, demux.Options{Attach: mode})
		b.assign(mac(1), 0)
		b.assign(mac(2), 0)
		b.learn(0, 1, tag(7))
		b.learn(1, 2, tag(8))
		trunk, err := netlink.LinkByName("trunk0")
		b.Expect(err).NotTo(HaveOccurred())
		b.Expect(netlink.LinkSetDown(trunk)).To(Succeed())
		b.resync()
		group := toClient(1)
		group.Destination = broadcast
		b.far[0].Send(toClient(1))
		b.far[0].Send(toClient(2))
		b.far[0].Send(group)
		b.Eventually(b.sw[1].Count).Should(Equal(2))
		b.Expect(b.drops()).To(Equal(map[string]demux.Tally{"no_trunk": tally(toClient(1).Bytes(), group.WithTags(tag(7)).Bytes())}))
		b.Expect(b.client(1).Tx.Packets).To(BeZero())
		b.Expect(netlink.LinkSetUp(trunk)).To(Succeed())
		b.Expect(nettest.AwaitOperational("trunk0")).To(Succeed())
		b.resync()
		b.far[0].Send(toClient(1))
		b.Eventually(b.sw[0].Count).Should(Equal(1))
		b.Expect(b.client(1).Tx.Packets).To(BeEquivalentTo(1))
	})
}
