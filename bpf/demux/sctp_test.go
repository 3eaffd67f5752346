package demux_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/nettest"
	"golang.org/x/sys/unix"
)

// An association's super-packets, whose segments have lengths of their own, count as the frames that the kernel makes of
// them. Taps cannot show these: a packet socket has no name for them.
func TestCountsSCTP(t *testing.T) {
	probe, err := sctpSocket()
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		t.Skip("the kernel has no SCTP, or not its module")
	}
	NewWithT(t).Expect(errors.Join(err, unix.Close(probe))).To(Succeed())
	for name, offload := range map[string]bool{"with checksum offload": true, "without": false} {
		t.Run(name, func(t *testing.T) { countsSCTP(t, offload) })
	}
}

func countsSCTP(t *testing.T, offload bool) {
	const message, messages = 30_000, 20 // octets
	nettest.Enter(t)
	g := NewWithT(t)
	here, err := netns.Get()
	g.Expect(err).NotTo(HaveOccurred())
	defer here.Close()
	trunk, _ := nettest.Veth(t, "trunk0", "sw0")
	nettest.Veth(t, "w0", "p0")
	p0, err := netlink.LinkByName("p0")
	g.Expect(err).NotTo(HaveOccurred())
	d, err := demux.Load(demux.Options{Capacity: 4})
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { g.Expect(d.Close()).To(Succeed()) }()
	_, err = d.AttachTrunk("trunk0", false)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(d.Assign(mac(1), "w0")).To(Succeed())
	nettest.SegmentInSoftware(t, "w0")
	nettest.SegmentInSoftware(t, "trunk0")
	atWorker, arriving := nettest.Open(t, "p0"), nettest.Open(t, "trunk0")
	address(g, "p0", "198.51.100.2/24", "198.51.100.1", mac(1))
	if !offload {
		nettest.SegmentInSoftware(t, "p0")
	}
	server, err := sctpSocket()
	g.Expect(err).NotTo(HaveOccurred())
	defer unix.Close(server)
	at := &unix.SockaddrInet4{Port: 5004, Addr: [4]byte{198, 51, 100, 2}}
	g.Expect(errors.Join(unix.Bind(server, at), unix.Listen(server, 1))).To(Succeed())

	// The client's end is in a namespace of its own: between addresses of one, frames stay on lo.
	sw0, err := netlink.LinkByName("sw0")
	g.Expect(err).NotTo(HaveOccurred())
	there, err := netns.New()
	g.Expect(err).NotTo(HaveOccurred())
	defer there.Close()
	g.Expect(netns.Set(here)).To(Succeed())
	g.Expect(netlink.LinkSetNsFd(sw0, int(there))).To(Succeed())
	g.Expect(netns.Set(there)).To(Succeed())
	g.Expect(netlink.LinkSetUp(sw0)).To(Succeed())
	own := mac(1)
	g.Expect(netlink.LinkAdd(&netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "vlan7", ParentIndex: sw0.Attrs().Index, HardwareAddr: own[:], MTU: 1500}, VlanId: 7})).To(Succeed())
	if !offload {
		nettest.SegmentInSoftware(t, "sw0")
		nettest.SegmentInSoftware(t, "vlan7")
	}
	address(g, "vlan7", "198.51.100.1/24", "198.51.100.2", demux.MAC(p0.Attrs().HardwareAddr))
	atClient := nettest.Open(t, "sw0")
	client, err := sctpSocket()
	g.Expect(err).NotTo(HaveOccurred())
	defer unix.Close(client)
	g.Expect(netns.Set(here)).To(Succeed())

	served := make(chan error, 1)
	go func() { served <- sctpEcho(server, message*messages) }()
	g.Expect(unix.Connect(client, at)).To(Succeed())
	sent := make(chan error, 1)
	go func() {
		for range messages {
			if _, err := unix.Write(client, make([]byte, message)); err != nil {
				sent <- fmt.Errorf("sending to the server: %w", err)
				return
			}
		}
		sent <- nil
	}()
	back := os.NewFile(uintptr(must(unix.Dup(client))), "client")
	defer back.Close()
	_, err = io.CopyN(io.Discard, back, message*messages)
	g.Expect(errors.Join(err, <-sent, <-served)).To(Succeed())

	g.SetDefaultEventuallyTimeout(10 * time.Second)
	g.Eventually(func(g Gomega) {
		counters, err := d.Counters()
		g.Expect(err).NotTo(HaveOccurred())
		n := atWorker.Count()
		g.Expect(counters.Clients).To(ConsistOf(demux.ClientCounters{MAC: mac(1), Worker: "w0", Location: demux.Location{Trunk: trunk, Protocol: 0x8100, TCI: 7},
			Rx: demux.Tally{Packets: uint64(n), Bytes: uint64(atWorker.Octets() + 4*n)},
			Tx: demux.Tally{Packets: uint64(atClient.Count()), Bytes: uint64(atClient.Octets())}}))
		g.Expect(n).To(BeNumerically(">", messages*message/1500))
	}).Should(Succeed())
	longest := len(slices.MaxFunc(arriving.Frames(), func(a, b []byte) int { return len(a) - len(b) }))
	g.Expect(longest > 3000).To(Equal(offload), "octets of the longest packet from the client: %d", longest)
}

func sctpSocket() (int, error) {
	return unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
}

// sctpEcho accepts an association and sends so many octets back.
func sctpEcho(server, octets int) error {
	fd, _, err := unix.Accept(server)
	if err != nil {
		return fmt.Errorf("accepting an association: %w", err)
	}
	peer := os.NewFile(uintptr(fd), "server")
	defer peer.Close()
	_, err = io.CopyN(struct{ io.Writer }{peer}, struct{ io.Reader }{peer}, int64(octets))
	return err
}

// address gives an interface an address, an MTU of 1500 and its only neighbour.
func address(g *WithT, name, own, other string, lladdr demux.MAC) {
	link, err := netlink.LinkByName(name)
	g.Expect(err).NotTo(HaveOccurred())
	prefix, err := netlink.ParseAddr(own)
	g.Expect(err).NotTo(HaveOccurred())
	neighbour, err := netlink.ParseAddr(other + "/32")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(netlink.LinkSetMTU(link, 1500)).To(Succeed())
	g.Expect(netlink.LinkSetUp(link)).To(Succeed())
	g.Expect(netlink.AddrAdd(link, prefix)).To(Succeed())
	g.Expect(netlink.NeighSet(&netlink.Neigh{LinkIndex: link.Attrs().Index, IP: neighbour.IP, HardwareAddr: lladdr[:], State: netlink.NUD_PERMANENT})).To(Succeed())
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
