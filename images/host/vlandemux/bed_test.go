package main

import (
	"encoding/binary"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"
	"github.com/onsi/gomega/gexec"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The tests in run_test.go need a kernel: root with CAP_NET_ADMIN, CAP_SYS_ADMIN and CAP_NET_RAW. Each has
// a bed: namespaces of its own for links and mounts, in which the program runs as a process.
//
//	t1 ---- t0 (trunk)   [vlandemux]   w0 ---- w0p
//	u1 ---- u0                         w1 ---- w1p

// asProgram makes the test binary be vlandemux.
const asProgram = "VLANDEMUX_TEST_AS_PROGRAM"

// openFiles is how many files vlandemux may have open then. Optional.
const openFiles = "VLANDEMUX_TEST_OPEN_FILES"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		if limit, err := strconv.ParseUint(os.Getenv(openFiles), 10, 64); err == nil {
			if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
				panic(err)
			}
		}
		main()
	}
	os.Exit(m.Run())
}

const patience = 20 * time.Second

// bed is where one privileged test takes place. Only the test's own goroutine is in its namespaces.
type bed struct {
	t      *testing.T
	bpffs  string
	socket string
}

func newBed(t *testing.T) *bed {
	t.Helper()
	g := NewWithT(t)
	// Never unlocked: the thread ends with the test, and its namespaces with it.
	runtime.LockOSThread()
	g.Expect(unix.Unshare(unix.CLONE_NEWNET|unix.CLONE_NEWNS)).To(Succeed(), "this test needs root with CAP_SYS_ADMIN")
	g.Expect(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")).To(Succeed())
	mount := t.TempDir()
	g.Expect(unix.Mount("bpf", mount, "bpf", 0, "")).To(Succeed())
	t.Cleanup(func() { g.Expect(unix.Unmount(mount, unix.MNT_DETACH)).To(Succeed()) })
	b := &bed{t: t, bpffs: filepath.Join(mount, "vlandemux"), socket: filepath.Join(t.TempDir(), "s")}
	for _, name := range []string{"t", "u"} {
		b.veth(name+"0", name+"1")
	}
	b.veth("w0", "w0p")
	b.veth("w1", "w1p")
	return b
}

func (b *bed) setUp(name string) {
	b.t.Helper()
	NewWithT(b.t).Expect(netlink.LinkSetUp(b.link(name))).To(Succeed())
}

func (b *bed) veth(name, peer string) {
	b.t.Helper()
	g := NewWithT(b.t)
	g.Expect(netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: peer})).To(Succeed())
	for _, end := range []string{name, peer} {
		g.Expect(netlink.LinkSetUp(b.link(end))).To(Succeed())
	}
	for _, end := range []string{name, peer} {
		g.Eventually(func() netlink.LinkOperState { return b.link(end).Attrs().OperState }, patience).
			Should(BeEquivalentTo(netlink.OperUp))
	}
}

func (b *bed) link(name string) netlink.Link {
	b.t.Helper()
	link, err := netlink.LinkByName(name)
	NewWithT(b.t).Expect(err).NotTo(HaveOccurred())
	return link
}

// command starts the program in the bed's namespaces.
func (b *bed) command(args ...string) *gexec.Session {
	b.t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	session, err := gexec.Start(cmd, b.t.Output(), b.t.Output())
	NewWithT(b.t).Expect(err).NotTo(HaveOccurred())
	b.t.Cleanup(func() { session.Kill(); <-session.Exited })
	return session
}

// run starts `vlandemux run` and waits until it is ready.
func (b *bed) run(args ...string) *gexec.Session {
	b.t.Helper()
	session := b.command(append([]string{"run", "--bpffs", b.bpffs, "--socket", b.socket}, args...)...)
	NewWithT(b.t).Eventually(session.Err, patience).Should(gbytes.Say(`\bready\b`))
	return session
}

// ask runs a command to its end, expects it to succeed, and returns what it printed.
func (b *bed) ask(args ...string) string {
	b.t.Helper()
	session := b.command(append(args, "--socket", b.socket)...)
	NewWithT(b.t).Eventually(session, patience).Should(gexec.Exit(0))
	return string(session.Out.Contents())
}

// refused runs a command to its end, expects it to fail, and returns what it said.
func (b *bed) refused(args ...string) string {
	b.t.Helper()
	session := b.command(args...)
	g := NewWithT(b.t)
	g.Eventually(session, patience).Should(gexec.Exit(exitFailure))
	text := string(session.Err.Contents())
	at := strings.Index(text, "vlandemux: ")
	g.Expect(at).To(BeNumerically(">=", 0), text)
	return text[at:]
}

// port is a raw socket on one interface.
type port struct {
	t  *testing.T
	fd int
}

// etherType of the tests' frames, for local experiments.
const etherType = 0x88b5

func (b *bed) port(name string) port {
	b.t.Helper()
	g := NewWithT(b.t)
	// Every protocol: for a single one the kernel drops the tag of a VLAN that has no interface.
	protocol := binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL})
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	g.Expect(err).NotTo(HaveOccurred())
	b.t.Cleanup(func() { _ = unix.Close(fd) })
	g.Expect(unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: b.link(name).Attrs().Index})).To(Succeed())
	g.Expect(unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1)).To(Succeed())
	g.Expect(unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)).To(Succeed())
	g.Expect(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(patience / time.Second)})).To(Succeed())
	return port{t: b.t, fd: fd}
}

// frame is one without a tag of 60 octets.
func frame(to, from string, text string) []byte {
	destination, _ := net.ParseMAC(to)
	source, _ := net.ParseMAC(from)
	bytes := append(append(destination, source...), etherType>>8, etherType&0xff)
	return append(append(bytes, text...), make([]byte, 60-len(bytes)-len(text))...)
}

// tagged returns the frame with an 802.1Q tag.
func tagged(untagged []byte, tci uint16) []byte {
	return append(append(append([]byte{}, untagged[:12]...), 0x81, 0, byte(tci>>8), byte(tci)), untagged[12:]...)
}

func (p port) send(bytes []byte) {
	p.t.Helper()
	_, err := unix.Write(p.fd, bytes)
	NewWithT(p.t).Expect(err).NotTo(HaveOccurred())
}

// receive returns the next of the tests' frames, its tag put back where the kernel took it out.
func (p port) receive() []byte {
	p.t.Helper()
	for {
		bytes := p.receiveAny()
		inner := bytes[12:]
		if binary.BigEndian.Uint16(inner) == 0x8100 {
			inner = inner[4:]
		}
		if binary.BigEndian.Uint16(inner) == etherType {
			return bytes
		}
	}
}

func (p port) receiveAny() []byte {
	p.t.Helper()
	g := NewWithT(p.t)
	buffer, control := make([]byte, 2048), make([]byte, 256)
	n, controlLength, _, _, err := unix.Recvmsg(p.fd, buffer, control, 0)
	g.Expect(err).NotTo(HaveOccurred(), "no frame came")
	messages, err := unix.ParseSocketControlMessage(control[:controlLength])
	g.Expect(err).NotTo(HaveOccurred())
	for _, m := range messages {
		// struct tpacket_auxdata: status at 0, TCI at 16.
		if m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA &&
			binary.NativeEndian.Uint32(m.Data)&unix.TP_STATUS_VLAN_VALID != 0 {
			return tagged(buffer[:n], binary.NativeEndian.Uint16(m.Data[16:]))
		}
	}
	return buffer[:n]
}

// filters counts what is attached to the ingress of an interface in the clsact way.
func (b *bed) filters(name string) int {
	b.t.Helper()
	filters, err := netlink.FilterList(b.link(name), netlink.HANDLE_MIN_INGRESS)
	NewWithT(b.t).Expect(err).NotTo(HaveOccurred())
	return len(filters)
}
