package drops

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	. "github.com/onsi/gomega"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/bpf/nettest"
)

// bed is a network namespace with a veth pair, a and b, whose drops are listened to under the name "test".
type bed struct {
	*WithT
	t        *testing.T
	listener *Listener
	sender   string // of the interfaces
	socket   int
	macB     net.HardwareAddr
}

func newBed(t *testing.T) *bed {
	t.Helper()
	nettest.Enter(t)
	nettest.Veth(t, "a", "b")
	b := &bed{WithT: NewWithT(t), t: t, sender: "a", macB: device(t, "b").Attrs().HardwareAddr}
	var own syscall.Stat_t
	b.Expect(syscall.Stat("/proc/thread-self/ns/net", &own)).To(Succeed())
	var err error
	b.socket, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	b.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = unix.Close(b.socket) })
	if b.listener, err = Open(); err != nil {
		t.Fatalf("%+v", errors.Unwrap(err)) // with all that the verifier says
	}
	t.Cleanup(func() { b.Expect(b.listener.Close()).To(Succeed()) })
	b.Expect(b.listener.Watch(map[uint32]string{uint32(own.Ino): "test"})).To(Succeed())
	return b
}

func device(t *testing.T, name string) netlink.Link {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// send sends a frame once, whatever becomes of it.
func (b *bed) send(frame []byte) {
	err := unix.Sendto(b.socket, frame, 0, &unix.SockaddrLinklayer{Ifindex: device(b.t, b.sender).Attrs().Index})
	b.Expect(err).To(Or(Not(HaveOccurred()), Equal(unix.ENOBUFS)), "the kernel may tell that it has dropped it")
}

// drops are the drops of packets that begin as frame does.
func (b *bed) drops(frame []byte) []Drop {
	report, err := b.listener.Read()
	b.Expect(err).NotTo(HaveOccurred())
	b.t.Logf("%+v", report.Totals)
	var ours []Drop
	for _, d := range report.Drops {
		if len(d.Octets) >= 14 && string(d.Octets) == string(frame[:min(len(frame), len(d.Octets))]) {
			ours = append(ours, d)
		}
	}
	return ours
}

func (b *bed) frame(size int) []byte {
	frame := nettest.Frame{Destination: [6]byte(b.macB), Source: [6]byte{2, 0, 0, 0, 0, 1}, Payload: make([]byte, size-14)}.Bytes()
	copy(frame[14:], b.t.Name())
	return frame
}

// udp is a UDP packet to b's address, 192.0.2.1.
func (b *bed) udp(source string, checksum func(*layers.UDP)) []byte {
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.ParseIP(source), DstIP: net.ParseIP("192.0.2.1")}
	udp := &layers.UDP{SrcPort: 1, DstPort: 4007}
	b.Expect(udp.SetNetworkLayerForChecksum(ip)).To(Succeed())
	serialize := func(fix bool) []byte {
		buffer := gopacket.NewSerializeBuffer()
		b.Expect(gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: fix},
			&layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: b.macB, EthernetType: layers.EthernetTypeIPv4}, ip, udp, gopacket.Payload("hello, so that no padding is left"))).To(Succeed())
		return buffer.Bytes()
	}
	packet := serialize(true)
	if checksum != nil {
		checksum(udp)
		packet = serialize(false)
	}
	return packet
}

// listen gives b an address and a socket that takes what comes to it.
func (b *bed) listen() {
	b.Expect(netlink.AddrAdd(device(b.t, "b"), &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(192, 0, 2, 1), Mask: net.CIDRMask(24, 32)}})).To(Succeed())
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	b.Expect(err).NotTo(HaveOccurred())
	b.t.Cleanup(func() { _ = unix.Close(fd) })
	b.Expect(unix.Bind(fd, &unix.SockaddrInet4{Port: 4007, Addr: [4]byte{192, 0, 2, 1}})).To(Succeed())
}

func (b *bed) sysctl(path, value string) {
	proc := b.t.TempDir() // a container's own is read-only
	b.Expect(unix.Mount("proc", proc, "proc", 0, "")).To(Succeed())
	defer func() { _ = unix.Unmount(proc, unix.MNT_DETACH) }()
	b.Expect(os.WriteFile(filepath.Join(proc, "sys", path), []byte(value), 0o644)).To(Succeed())
}

func TestTheReasonIsTheKernelsOwn(t *testing.T) {
	for name, test := range map[string]struct {
		breakIt func(*bed) (frame []byte)
		place   string
		reason  []string // by what the kernels tried call it
	}{
		"the other end is down": {func(b *bed) []byte {
			b.Expect(netlink.LinkSetDown(device(b.t, "b"))).To(Succeed())
			b.Eventually(func() netlink.LinkOperState { return device(b.t, "a").Attrs().OperState }).ShouldNot(BeEquivalentTo(netlink.OperUp))
			return b.frame(100)
		}, "test/a", []string{"QDISC_DROP", "NOT_SPECIFIED", "DEV_READY"}},
		"too long for the other end's MTU": {func(b *bed) []byte {
			b.Expect(netlink.LinkSetMTU(device(b.t, "b"), 1000)).To(Succeed())
			return b.frame(2000)
		}, "test/a", []string{"NOT_SPECIFIED", "PKT_TOO_BIG"}},
		"the backlog is full": {func(b *bed) []byte {
			b.multiply(1 << 12)
			return b.frame(100)
		}, "test/b", []string{"CPU_BACKLOG"}},
		"a wrong checksum": {func(b *bed) []byte {
			b.listen()
			return b.udp("192.0.2.9", func(u *layers.UDP) { u.Checksum ^= 0x5555 })
		}, "test/b", []string{"UDP_CSUM"}},
		"the reverse path leads elsewhere": {func(b *bed) []byte {
			b.listen()
			b.sysctl("net/ipv4/conf/b/rp_filter", "1")
			return b.udp("198.51.100.1", nil)
		}, "test/b", []string{"IP_RPFILTER", "NOT_SPECIFIED"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			frame := test.breakIt(b)
			b.Expect(b.listener.Reset()).To(Succeed())
			b.send(frame)
			var drops []Drop
			b.Eventually(func() []Drop { drops = b.drops(frame); return drops }).ShouldNot(BeEmpty())
			b.Expect(drops[0].Place()).To(Equal(test.place))
			b.Expect(test.reason).To(ContainElement(drops[0].Reason))
			b.Expect(drops[0].Function).To(MatchRegexp("^[a-z_]"))
			b.Expect(drops[0].Length).To(Equal(len(frame)))
		})
	}
}

// multiply makes n of each frame that leaves a, all while the processor takes no frame from its backlog.
func (b *bed) multiply(n int32) {
	a := device(b.t, "a")
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{
			asm.Mov.Reg(asm.R6, asm.R1),
			asm.Mov.Imm(asm.R7, n),
			asm.Mov.Reg(asm.R1, asm.R6).WithSymbol("again"),
			asm.Mov.Imm(asm.R2, int32(a.Attrs().Index)),
			asm.Mov.Imm(asm.R3, 0),
			asm.FnCloneRedirect.Call(),
			asm.Sub.Imm(asm.R7, 1),
			asm.JNE.Imm(asm.R7, 0, "again"),
			asm.Mov.Imm(asm.R0, 0),
			asm.Return(),
		},
	})
	b.Expect(err).NotTo(HaveOccurred())
	b.t.Cleanup(func() { _ = program.Close() })
	attrs := netlink.QdiscAttrs{LinkIndex: a.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}
	b.Expect(netlink.QdiscAdd(&netlink.GenericQdisc{QdiscAttrs: attrs, QdiscType: "clsact"})).To(Succeed())
	b.Expect(netlink.FilterAdd(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: a.Attrs().Index, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1},
		Fd:          program.FD(), Name: "multiply", DirectAction: true,
	})).To(Succeed())
	b.sender = "b" // what b sends comes into a
}

func TestCopiesTheFirstOfEachKindAndCountsAll(t *testing.T) {
	b := newBed(t)
	b.Expect(netlink.LinkSetMTU(device(t, "b"), 1000)).To(Succeed())
	for round := range 2 {
		b.Expect(b.listener.Reset()).To(Succeed())
		const more = 100
		for i := range MostCopied + more {
			frame := b.frame(2000)
			copy(frame[100:], fmt.Sprint(i))
			b.send(frame)
		}
		report, err := b.listener.Read()
		b.Expect(err).NotTo(HaveOccurred())
		b.Expect(report.Totals).To(ContainElement(And(HaveField("Interface", "a"), HaveField("Reason", "NOT_SPECIFIED"),
			HaveField("Packets", BeEquivalentTo(MostCopied+more)), HaveField("Copied", BeEquivalentTo(MostCopied)), HaveField("Lost", BeZero()))), "round %d", round)
		ours := slices.DeleteFunc(report.Drops, func(d Drop) bool { return d.Place() != "test/a" || d.Length != 2000 })
		b.Expect(ours).To(HaveLen(MostCopied))
		b.Expect(string(ours[7].Octets[100:101])).To(Equal("7"))
	}
}

func TestSeesNothingOfOtherNamespaces(t *testing.T) {
	b := newBed(t)
	b.Expect(netlink.LinkSetMTU(device(t, "b"), 1000)).To(Succeed())
	b.Expect(b.listener.Watch(map[uint32]string{1: "elsewhere"})).To(Succeed())
	b.Expect(b.listener.Reset()).To(Succeed())
	b.send(b.frame(2000))
	b.Expect(b.listener.Read()).To(Equal(Report{}))
}
