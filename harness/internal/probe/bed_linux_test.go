package probe

import (
	"context"
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// bed is a network namespace of the test's own with a veth pair, a and b, that
// sends nothing by itself. The test's goroutine stays in it.
type bed struct {
	t *testing.T
	*WithT
}

// newBed needs root. The namespace belongs to the goroutine's thread and is gone
// with it, the pair included.
func newBed(t *testing.T) *bed {
	t.Helper()
	g := NewWithT(t)
	runtime.LockOSThread()
	g.Expect(unix.Unshare(unix.CLONE_NEWNET)).To(Succeed(), "making a network namespace needs root")
	addPair(g)
	return &bed{t: t, WithT: g}
}

// addPair makes the veth pair a and b, up.
func addPair(g *WithT) {
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "a", MTU: 9000}, PeerName: "b"}
	g.Expect(netlink.LinkAdd(pair)).To(Succeed())
	for _, name := range []string{"a", "b"} {
		const addrGenModeNone = 1 // no link-local address, hence no DAD and no router solicitation
		g.Expect(netlink.LinkSetIP6AddrGenMode(link(g, name), addrGenModeNone)).To(Succeed())
		g.Expect(netlink.LinkSetUp(link(g, name))).To(Succeed())
	}
	awaitOperational(g)
}

// awaitOperational returns once both ends send frames: what is sent before, the kernel drops.
func awaitOperational(g *WithT) {
	for _, name := range []string{"a", "b"} {
		g.Eventually(func() netlink.LinkOperState { return link(g, name).Attrs().OperState }).
			WithTimeout(10*time.Second).Should(BeEquivalentTo(netlink.OperUp), name)
	}
}

func link(g *WithT, name string) netlink.Link {
	l, err := netlink.LinkByName(name)
	g.Expect(err).NotTo(HaveOccurred())
	return l
}

func (b *bed) tap(name string, opts TapOptions) *Tap {
	b.t.Helper()
	tap, err := OpenTap(TapPoint{Name: "test/" + name, Interface: name}, opts)
	b.Expect(err).NotTo(HaveOccurred())
	b.t.Cleanup(func() { _ = tap.Close() })
	return tap
}

// stop ends the tap and demands that it lost nothing.
func (b *bed) stop(tap *Tap) TapReport {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	report, err := tap.Stop(ctx)
	b.Expect(err).NotTo(HaveOccurred())
	b.Expect(report.Err()).NotTo(HaveOccurred())
	return report
}

// sender is a packet socket on a that takes virtio headers.
func (b *bed) sender() int {
	b.t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	b.Expect(err).NotTo(HaveOccurred())
	b.t.Cleanup(func() { _ = unix.Close(fd) })
	b.Expect(unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1)).To(Succeed())
	b.Expect(unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: link(b.WithT, "a").Attrs().Index})).To(Succeed())
	return fd
}

// send hands every packet of the batch to the kernel, and calls each of the functions after each one.
func (b *bed) send(batch *Batch, after ...func(sent int)) {
	b.t.Helper()
	b.Expect(batch.Validate()).To(Succeed())
	fd := b.sender()
	var buf, message []byte
	for i := range batch.Packets() {
		packet, hdr := batch.Packet(i, buf)
		buf = packet
		message = append(message[:0], make([]byte, VirtioNetHeaderLen)...)
		hdr.Put(message)
		message = append(message, packet...)
		for {
			_, err := unix.Write(fd, message)
			if err == unix.ENOBUFS {
				runtime.Gosched()
				continue
			}
			if err != nil {
				b.t.Fatalf("sending packet %d of %d octets: %v", i, len(packet), err)
			}
			break
		}
		for _, do := range after {
			do(i + 1)
		}
	}
}

// kept are the frames that the tap kept whole.
func kept(tap *Tap) [][]byte {
	frames := make([][]byte, 0, len(tap.recorder.kept))
	for _, frame := range tap.recorder.kept {
		frames = append(frames, frame.data)
	}
	return frames
}

// wire is every wire frame of a batch by our own segmentation.
func wire(batch *Batch) [][]byte {
	var frames [][]byte
	for i := range batch.Packets() {
		for _, frame := range batch.Frames(i) {
			frames = append(frames, append([]byte{}, frame...))
		}
	}
	return frames
}

func flow(protocol string, v6 bool) *Flow {
	source, destination := "192.0.2.1", "192.0.2.2"
	if v6 {
		source, destination = "2001:db8::1", "2001:db8::2"
	}
	return &Flow{
		Protocol:    protocol,
		Source:      netip.AddrPortFrom(netip.MustParseAddr(source), 40000),
		Destination: netip.AddrPortFrom(netip.MustParseAddr(destination), 7),
	}
}

func tagIn(frame []byte) Tag {
	return Tag{binary.BigEndian.Uint16(frame[12:]), binary.BigEndian.Uint16(frame[14:])}
}
