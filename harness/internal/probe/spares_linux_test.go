package probe

import (
	"runtime"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A spare ring does for an interface what a new one does, whatever was at its old one: frames of before are not seen, and those of
// another namespace never.
func TestASpareRingIsAsANewOne(t *testing.T) {
	b := newBed(t)
	spares := &Spares{}
	b.t.Cleanup(func() { b.Expect(spares.Close()).To(Succeed()) })
	batch := &Batch{Name: "few", ID: 1, Count: 10, Source: macA(), Destination: macB(), Size: 60}
	for _, again := range []func(){
		func() {},
		func() { // the interface goes, and another has its name
			b.Expect(netlink.LinkDel(link(b.WithT, "b"))).To(Succeed())
			addPair(b.WithT)
		},
		func() { // it flaps
			b.Expect(netlink.LinkSetDown(link(b.WithT, "b"))).To(Succeed())
			b.Expect(netlink.LinkSetUp(link(b.WithT, "b"))).To(Succeed())
			awaitOperational(b.WithT)
		},
		func() { b.send(batch) },
	} {
		point := TapPoint{Name: "test/b", Interface: "b", Marks: In, MaxPacket: 1514}
		tap, err := OpenTap(point, TapOptions{Spares: spares})
		b.Expect(err).NotTo(HaveOccurred())
		b.Expect(spares.rings).To(BeEmpty(), "the one there is in use")
		b.send(batch)
		b.Eventually(tap.Total).Should(BeEquivalentTo(10)) // a busy processor hands frames on by and by
		report := b.stop(tap)
		b.Expect(report.Frames).To(BeEquivalentTo(10))
		b.Expect(report.Down).To(BeZero())
		b.Expect(tap.Close()).To(Succeed())
		b.Expect(spares.rings).To(HaveLen(1))
		b.Expect(spares.octets).To(Equal(smallRing))
		again()
	}
	large, err := OpenTap(TapPoint{Interface: "b"}, TapOptions{Spares: spares})
	b.Expect(err).NotTo(HaveOccurred())
	b.Expect(spares.rings).To(HaveLen(1), "a ring of another size is none for it")
	b.stop(large)
	b.Expect(spares.rings).To(HaveLen(2))

	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and ends with its namespace
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "b"}, PeerName: "a"})
		}
		if err == nil {
			err = netlink.LinkSetUp(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Name: "b"}})
		}
		if err == nil {
			_, err = OpenTap(TapPoint{Interface: "b", Marks: In, MaxPacket: 1514}, TapOptions{Spares: spares})
		}
		done <- err
	}()
	b.Expect(<-done).To(Succeed())
	b.Expect(spares.rings).To(HaveLen(2), "they are of another namespace")

	b.Expect(spares.Trim()()).To(Succeed())
	again, err := OpenTap(TapPoint{Interface: "b"}, TapOptions{Spares: spares})
	b.Expect(err).NotTo(HaveOccurred())
	b.stop(again)
	b.Expect(spares.Trim()()).To(Succeed())
	b.Expect(spares.rings).To(HaveLen(1), "nobody has taken the other one since the last time")
	b.Expect(spares.octets).To(Equal(largeRing))
}
