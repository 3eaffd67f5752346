package probe

import (
	"iter"
	"net"
	"slices"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/vishvananda/netlink"
)

func TestAMarkDividesWhatATapSees(t *testing.T) {
	b := newBed(t)
	batch := func(id uint32, count int) *Batch {
		return &Batch{Name: "marked", ID: id, EtherType: 0x9900 + uint16(id), Count: count, Source: macA(), Destination: macB(), Size: 100}
	}
	tap := b.tap("b", TapOptions{})
	_, err := tap.Sightings()
	b.Expect(err).To(MatchError(errRunning), "the tap is neither marked nor stopped")
	b.send(batch(1, 5000))
	report, err := tap.Mark(t.Context())
	b.Expect(err).NotTo(HaveOccurred())
	b.Expect(report.Err()).NotTo(HaveOccurred())
	b.Expect(report.Frames).To(BeEquivalentTo(5000))
	b.Expect(report.Packets).To(BeEquivalentTo(5000))
	b.send(batch(2, 300))
	ids := func(sightings iter.Seq[Sighting]) map[uint16]int {
		seen := map[uint16]int{}
		for s := range sightings {
			seen[s.EtherType-0x9900]++
		}
		return seen
	}
	b.Expect(ids(sightings(tap))).To(Equal(map[uint16]int{1: 5000}))
	late := func() map[uint16]int {
		seen, err := tap.Late(t.Context())
		b.Expect(err).NotTo(HaveOccurred())
		return ids(slices.Values(seen))
	}
	b.Expect(late()).To(Equal(map[uint16]int{2: 300}))
	b.Expect(b.stop(tap).Frames).To(BeEquivalentTo(5300))
	b.Expect(ids(sightings(tap))).To(Equal(map[uint16]int{1: 5000}))
	b.Expect(late()).To(Equal(map[uint16]int{2: 300}))
	_, err = tap.Mark(t.Context())
	b.Expect(err).To(MatchError(ContainSubstring("it has ended")))
}

func TestATapGoesOnAsANewOne(t *testing.T) {
	b := newBed(t)
	batch := func(id uint32, count int) *Batch {
		return &Batch{Name: "again", ID: id, Count: count, Source: macA(), Destination: macB(), Size: 100}
	}
	point := TapPoint{Name: "b", Interface: "b", Marks: In, SCTPSegment: 1500}
	tap, err := OpenTap(point, TapOptions{})
	b.Expect(err).NotTo(HaveOccurred())
	defer tap.Close()
	again := func(late int, want bool) {
		t.Helper()
		seen, again, err := tap.Again(t.Context())
		b.Expect(err).NotTo(HaveOccurred())
		b.Expect(again).To(Equal(want))
		b.Expect(seen).To(HaveLen(late))
	}
	b.send(batch(1, 70))
	again(0, true) // there was no mark
	for round := range 3 {
		want := TapReport{Point: point, Frames: 500, Packets: 500, Read: 500, Longest: 100}
		b.send(batch(uint32(round+2), 500))
		b.Expect(tap.Mark(t.Context())).To(Equal(want))
		b.Expect(slices.Collect(sightings(tap))).To(HaveLen(500))
		b.Expect(tap.Retained()).To(HaveLen(500))
		b.send(batch(uint32(round+12), 30))
		again(30, true)
		b.Expect(tap.Total()).To(BeZero())
		_, err = tap.Sightings()
		b.Expect(err).To(MatchError(errRunning), "it was not marked again")
	}
	down := link(b.WithT, "b")
	b.Expect(netlink.LinkSetDown(down)).To(Succeed())
	again(0, false)
	b.Expect(netlink.LinkSetUp(down)).To(Succeed())
	again(0, true)
	b.Expect(netlink.LinkDel(down)).To(Succeed())
	again(0, false)
	another := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "b", Index: down.Attrs().Index, Flags: net.FlagUp}, PeerName: "a"}
	b.Expect(netlink.LinkAdd(another)).To(Succeed())
	again(0, false) // of the same name and index
	b.stop(tap)
	again(0, false)
}
