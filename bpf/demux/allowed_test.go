package demux_test

import (
	"testing"

	. "github.com/onsi/gomega"
	"github.com/vishvananda/netlink"
	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/nettest"
)

var adTag = nettest.Tag{Protocol: 0x88a8, TCI: 12}

// assignAt assigns client n to w0, to be at those places alone.
func (b *bed) assignAt(n int, text string) {
	b.t.Helper()
	b.Expect(b.demux.AssignAll([]demux.Assignment{b.at(n, 0, text)})).To(Succeed())
}

func (b *bed) at(n, worker int, text string) demux.Assignment {
	b.t.Helper()
	name, places, err := demux.ParseTarget(b.workers[worker] + text)
	b.Expect(err).NotTo(HaveOccurred())
	return demux.Assignment{MAC: mac(n), Worker: name, Places: places}
}

// refused sends a frame of client n and wants it dropped as wrong_place.
func (b *bed) refused(trunk, n int, vlan nettest.Tag) {
	b.t.Helper()
	before := b.drops()["wrong_place"]
	at := b.location(n)
	frame := fromClient(n, vlan)
	b.sw[trunk].Send(frame)
	b.Eventually(func() demux.Tally { return b.drops()["wrong_place"] }).Should(Equal(
		demux.Tally{Packets: before.Packets + 1, Bytes: before.Bytes + uint64(len(frame.Bytes()))}))
	b.Expect(b.location(n)).To(Equal(at), "the location stays")
}

// A client with places is served there and nowhere else: not on another VLAN, not with another protocol, not on
// another trunk. Another client is not concerned.
func TestWrongPlace(t *testing.T) {
	eachMode(t, func(t *testing.T, mode demux.AttachMode) {
		b := start(t, demux.Options{Attach: mode})
		b.assignAt(1, "@trunk0:12,13")
		b.assign(mac(2), 0)
		b.refused(0, 1, tag(14)) // before it was seen anywhere
		b.learn(0, 1, tag(12))
		b.refused(0, 1, tag(14))
		b.refused(0, 1, adTag)
		b.refused(1, 1, tag(12))
		b.learn(0, 1, nettest.Tag{Protocol: 0x8100, TCI: 5<<13 | 12}) // another PCP is the same place
		b.learn(0, 1, tag(13))
		b.learn(1, 2, tag(14))
		b.Eventually(b.far[0].Count).Should(Equal(4))
		b.far[0].Send(toClient(1))
		b.Eventually(b.sw[0].Count).Should(Equal(1))
		b.Expect(b.sw[0].Frames()).To(Equal([][]byte{toClient(1, tag(13)).WithTags(tag(13)).Bytes()}))
		b.Expect(b.drops()).To(HaveLen(1))
	})
}

// A refusal is told with the location there is and the place it was seen at, however many frames come at once: once.
func TestWrongPlaceIsAnnounced(t *testing.T) {
	b := start(t, demux.Options{})
	b.assignAt(1, "@trunk0:12,13")
	b.learn(0, 1, tag(12))
	const sent = 50
	for range sent {
		b.sw[1].Send(fromClient(1, tag(12)))
	}
	b.Eventually(func() uint64 { return b.drops()["wrong_place"].Packets }).Should(BeEquivalentTo(sent))
	b.learn(0, 1, tag(13))
	events := b.events(3)
	b.Expect(events[1].Type).To(Equal(demux.EventWrongPlace))
	b.Expect(events[1].From).To(Equal(demux.Location{Trunk: b.trunks[0], Protocol: 0x8100, TCI: 12}))
	b.Expect(events[1].To).To(Equal(demux.Location{Trunk: b.trunks[1], Protocol: 0x8100, TCI: 12}))
	b.Expect(events[2].Type).To(Equal(demux.EventMoved))
}

// A client that can be at one place only is reached there before it has sent anything, by unicast and by group frames,
// also after its trunk was renamed, and after it was made again.
func TestSilentClientIsReached(t *testing.T) {
	b := start(t, demux.Options{})
	b.assignAt(1, "@trunk0:ad12")
	group := toClient(1)
	group.Destination = broadcast
	reached := func() {
		b.t.Helper()
		before := b.sw[0].Count()
		b.far[0].Send(toClient(1))
		b.far[0].Send(group)
		b.Eventually(b.sw[0].Count).Should(Equal(before + 2))
		b.Expect(b.sw[0].Frames()[before:]).To(Equal([][]byte{toClient(1, adTag).WithTags(adTag).Bytes(), group.WithTags(adTag).Bytes()}))
	}
	reached()
	b.rename("trunk0", "up0")
	b.Expect(b.demux.Resync()).To(Equal([]demux.Change{{Name: "up0", What: "renamed from trunk0"}}))
	assignments, err := b.demux.Assignments()
	b.Expect(err).NotTo(HaveOccurred())
	b.Expect(assignments[0].String()).To(Equal(mac(1).String() + "=w0@up0:ad12"))
	reached()

	up0, err := netlink.LinkByName("up0")
	b.Expect(err).NotTo(HaveOccurred())
	b.Expect(netlink.LinkDel(up0)).To(Succeed())
	b.resync()
	b.Expect(b.location(1).IsZero()).To(BeTrue())
	b.trunks[0], _ = nettest.Veth(t, "up0", "sw0")
	b.sw[0] = nettest.Open(t, "sw0")
	b.resync()
	reached()
	b.learn(0, 1, adTag)
	b.assign(mac(2), 1)
	b.learn(1, 2, tag(1)) // an event after those of client 1, if there were any
	b.Expect(b.events(1)[0].MAC).To(Equal(mac(2)), "it was never elsewhere, and so nothing is told")
	b.Expect(b.drops()).To(BeEmpty())
}

// Places come and go with the assignment. A location where the client may not be any more is forgotten; whoever gets
// the slot next may be anywhere.
func TestPlacesChange(t *testing.T) {
	b := start(t, demux.Options{Capacity: 1})
	b.assign(mac(1), 0)
	b.learn(0, 1, tag(14))
	b.Expect(b.demux.ReassignAll([]demux.Assignment{b.at(1, 0, "@trunk0:12,13@trunk1:12")})).To(Succeed())
	b.Expect(b.location(1).IsZero()).To(BeTrue())
	b.refused(0, 1, tag(14))
	b.learn(1, 1, tag(12))
	b.Expect(b.demux.ReassignAll([]demux.Assignment{b.at(1, 1, "@trunk1:12,14")})).To(Succeed())
	b.Expect(b.location(1).VID()).To(BeEquivalentTo(12), "where it may still be")
	b.refused(0, 1, tag(12))
	b.Expect(b.demux.ReassignAll([]demux.Assignment{b.at(1, 1, "@trunk0:7")})).To(Succeed())
	b.Expect(b.location(1).VID()).To(BeEquivalentTo(7), "the only place")
	b.Expect(b.demux.Reassign(mac(1), "w1")).To(Succeed())
	b.learn(0, 1, tag(99))

	b.Expect(b.demux.ReassignAll([]demux.Assignment{b.at(1, 1, "@trunk0:7")})).To(Succeed())
	b.Expect(b.demux.Unassign(mac(1))).To(Succeed())
	b.assign(mac(2), 0)
	b.Expect(b.location(2).IsZero()).To(BeTrue())
	b.learn(0, 2, tag(99))
}

// Places outlive the process, and a change of the maps. A trunk that was detached keeps what its name means: no other
// trunk gets it, and when it is attached again the client may be there.
func TestPlacesAreRemembered(t *testing.T) {
	nettest.Enter(t)
	path := nettest.BPFFS(t)
	b := startHere(t, demux.Options{PinPath: path})
	b.assignAt(1, "@trunk0:12@trunk1:13")
	b.assignAt(2, "@trunk1:14")
	for _, capacity := range []int{16, 100} {
		b.Expect(b.demux.DetachTrunk("trunk1")).To(Succeed())
		b.Expect(b.demux.DetachTrunk("trunk1")).To(MatchError(demux.ErrUnknownInterface))
		b.Expect(b.demux.Close()).To(Succeed())
		b.demux = b.load(demux.Options{PinPath: path, Capacity: capacity})
		assignments, err := b.demux.Assignments()
		b.Expect(err).NotTo(HaveOccurred())
		b.Expect(assignments[0].Target()).To(Equal("w0@trunk0:12@trunk1:13"))
		b.Expect(assignments[1].Target()).To(Equal("w0@trunk1:14"))
		b.Expect(b.location(2).IsZero()).To(BeTrue())
		b.Expect(b.demux.Trunks()).To(HaveLen(1))
		b.resync()
		b.Expect(b.demux.Trunks()).To(HaveLen(1), "nobody wants it back")
		// Another trunk has another number.
		_, _ = nettest.Veth(t, "other", "otherSwitch")
		_, err = b.demux.AttachTrunk("other", false)
		b.Expect(err).NotTo(HaveOccurred())
		port := nettest.Open(t, "otherSwitch")
		before := b.drops()["wrong_place"].Packets
		port.Send(fromClient(1, tag(13)))
		b.Eventually(func() uint64 { return b.drops()["wrong_place"].Packets }).Should(Equal(before + 1))
		b.Expect(b.demux.DetachTrunk("other")).To(Succeed())
		other, err := netlink.LinkByName("other")
		b.Expect(err).NotTo(HaveOccurred())
		b.Expect(netlink.LinkDel(other)).To(Succeed())

		_, err = b.demux.AttachTrunk("trunk1", false)
		b.Expect(err).NotTo(HaveOccurred())
		b.Expect(b.location(2).VID()).To(BeEquivalentTo(14))
		b.learn(1, 1, tag(13))
		b.refused(1, 1, tag(12))
		b.learn(0, 1, tag(12))
		b.refused(0, 1, tag(13))
	}
	b.Expect(b.demux.DetachTrunk("trunk1")).To(Succeed())
	b.Expect(b.demux.UnassignAll([]demux.MAC{mac(1), mac(2)})).To(Succeed())
	_, err := b.demux.AttachWorker("trunk1", false)
	b.Expect(err).NotTo(HaveOccurred(), "its name means nothing any more")
}

// What cannot be is refused, and nothing is changed.
func TestBadPlaces(t *testing.T) {
	b := start(t, demux.Options{})
	b.assign(mac(1), 0)
	for _, places := range [][]demux.Place{{{Trunk: "trunk9", VID: 1}}, {{Trunk: "w0", VID: 1}}, {{Trunk: "", VID: 1}}} {
		for _, err := range []error{
			b.demux.AssignAll([]demux.Assignment{{MAC: mac(2), Worker: "w1", Places: places}}),
			b.demux.ReassignAll([]demux.Assignment{{MAC: mac(1), Worker: "w1", Places: places}}),
		} {
			b.Expect(err).To(MatchError(demux.ErrUnknownInterface))
		}
	}
	for _, places := range [][]demux.Place{{{Trunk: "trunk0", VID: 4095}}, {{Trunk: "trunk0", Protocol: "802.1x", VID: 1}}} {
		b.Expect(b.demux.AssignAll([]demux.Assignment{{MAC: mac(2), Worker: "w1", Places: places}})).To(MatchError(demux.ErrBadPlace))
	}
	assignments, err := b.demux.Assignments()
	b.Expect(err).NotTo(HaveOccurred())
	b.Expect(assignments).To(Equal([]demux.Assignment{{MAC: mac(1), Worker: "w0"}}))
	b.Expect(b.demux.Workers()).To(HaveLen(1))
	for _, text := range []string{"w0@eth1:", "w0@eth1:4095", "w0@eth1:1,,2", "w0@:1", "@eth1:1", "w0@eth1:x1", "w0@eth1:-1"} {
		_, _, err := demux.ParseTarget(text)
		b.Expect(err).To(MatchError(demux.ErrBadPlace), text)
	}
	worker, found, err := demux.ParseTarget("a@b@eth2:ad0,4094@eth1:7,7")
	b.Expect(err).NotTo(HaveOccurred())
	b.Expect(demux.Assignment{Worker: worker, Places: found}.Target()).To(Equal("a@b@eth1:7@eth2:4094,ad0"))
}

// The places of all clients have an end, and one more is refused as a whole.
func TestTooManyPlaces(t *testing.T) {
	b := start(t, demux.Options{})
	var all []demux.Place
	for vid := range uint16(4095) {
		for _, protocol := range []string{demux.Protocol8021Q, demux.Protocol8021AD} {
			all = append(all, demux.Place{Trunk: "trunk0", Protocol: protocol, VID: vid})
		}
	}
	err := error(nil)
	assigned := 0
	for ; err == nil; assigned++ {
		err = b.demux.AssignAll([]demux.Assignment{{MAC: mac(assigned), Worker: b.workers[0], Places: all}})
	}
	b.Expect(err).To(MatchError(demux.ErrFull))
	b.Expect(err).To(MatchError(ContainSubstring("all 65536 places of all clients are in use")))
	b.Expect(b.demux.Assigned()).To(Equal(assigned - 1))
	b.Expect(b.demux.Assign(mac(100), b.workers[0])).To(Succeed(), "anywhere")
}
