package demux_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	. "github.com/onsi/gomega"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/linux"
	"github.com/vlandemux/vlandemux/bpf/nettest"
	"golang.org/x/sys/unix"
)

// Two would take each other's frames, whichever way each is attached.
func TestASecondInstanceIsRefused(t *testing.T) {
	eachMode(t, func(t *testing.T, first demux.AttachMode) {
		for _, second := range []demux.AttachMode{demux.AttachAuto, demux.AttachClsact} {
			t.Run(string(second), func(t *testing.T) {
				nettest.Enter(t)
				fs := nettest.BPFFS(t)
				b := startHere(t, demux.Options{Attach: first, PinPath: filepath.Join(fs, "first")})
				b.assign(mac(1), 0)
				other := b.load(demux.Options{Attach: second, PinPath: filepath.Join(fs, "second")})
				for _, force := range []bool{false, true} {
					_, err := other.AttachTrunk(trunkNames[0], force)
					b.Expect(err).To(MatchError(demux.ErrServed))
					_, err = other.AttachWorker("w0", force)
					b.Expect(err).To(MatchError(demux.ErrServed))
				}
				b.Expect(other.Assign(mac(2), "w0")).To(MatchError(demux.ErrServed))
				b.Expect(other.Trunks()).To(BeEmpty())
				b.Expect(other.Workers()).To(BeEmpty())
				b.Expect(other.Detach()).To(Succeed())
				b.expectAt(1, 0)
				b.Expect(b.demux.Workers()).To(ConsistOf(HaveField("Mode", first)))
			})
		}
	})
}

// pinned lists a folder of pins.
func pinned(b *bed, path string) (names []string) {
	entries, err := os.ReadDir(path)
	b.Expect(err).NotTo(HaveOccurred())
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// Another program's pins in the folder stay, through a failed load, a detach and a removal.
func TestPinsOfOthersStay(t *testing.T) {
	linux.TCX.Need(t)
	nettest.Enter(t)
	path := filepath.Join(nettest.BPFFS(t), "site")
	NewWithT(t).Expect(os.Mkdir(path, 0o700)).To(Succeed())
	b := wireHere(t)
	foreign, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	b.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = foreign.Close() })
	names := []string{"clients", fmt.Sprint("link_", b.trunks[0])}
	for _, name := range names {
		b.Expect(foreign.Pin(filepath.Join(path, name))).To(Succeed())
		copied, err := foreign.Clone()
		b.Expect(err).NotTo(HaveOccurred())
		foreign = copied
	}
	opts := demux.Options{PinPath: path, Attach: demux.AttachTCX}
	b.demux = b.load(opts)
	_, err = b.demux.AttachTrunk(trunkNames[0], false)
	b.Expect(err).To(MatchError(ContainSubstring("another program's pin is in the way")))
	b.Expect(b.demux.Trunks()).To(BeEmpty())
	_, err = b.demux.AttachTrunk(trunkNames[1], false)
	b.Expect(err).NotTo(HaveOccurred())
	b.assign(mac(1), 0)
	b.assign(mac(2), 0)
	_, err = demux.Load(demux.Options{PinPath: path, Capacity: 1})
	b.Expect(err).To(MatchError(demux.ErrFull))
	b.Expect(pinned(b, path)).To(ContainElements(names))
	b.Expect(b.demux.Detach()).To(Succeed())
	b.Expect(pinned(b, path)).To(ConsistOf(names))
	b.Expect(demux.RemovePins(path)).To(MatchError(os.ErrNotExist))
	b.Expect(pinned(b, path)).To(ConsistOf(names))
}

// An interface that is taken from the host's own traffic by mistake cuts the host off.
// Somebody removes the pins of the maps: the links that are left can neither be taken over nor be in the way.
func TestPinsOfTheMapsAreRemoved(t *testing.T) {
	linux.TCX.Need(t)
	for name, next := range map[string]func(b *bed, opts demux.Options){
		"and it starts again": func(b *bed, opts demux.Options) {
			b.demux = b.load(opts)
			_, err := b.demux.AttachTrunk(trunkNames[0], false)
			b.Expect(err).NotTo(HaveOccurred())
			b.assign(mac(1), 0)
			b.expectAt(1, 0)
			b.Expect(b.demux.Detach()).To(Succeed())
		},
		"and it is detached": func(b *bed, opts demux.Options) { b.Expect(demux.RemovePins(opts.PinPath)).To(Succeed()) },
	} {
		t.Run(name, func(t *testing.T) {
			nettest.Enter(t)
			opts := demux.Options{Attach: demux.AttachTCX, PinPath: filepath.Join(nettest.BPFFS(t), "demux")}
			b := startHere(t, opts)
			b.assign(mac(1), 0)
			b.Expect(b.demux.Close()).To(Succeed())
			maps, err := filepath.Glob(opts.PinPath + "/maps_*/*")
			b.Expect(err).NotTo(HaveOccurred())
			for _, pin := range maps {
				b.Expect(os.Remove(pin)).To(Succeed())
			}
			next(b, opts)
			b.Expect(opts.PinPath).NotTo(BeADirectory())
			for _, ifindex := range []int{b.trunks[0], b.trunks[1], b.indexes[0]} {
				b.Expect(programsOn(b, ifindex)).To(BeZero())
			}
		})
	}
}

func TestWhatTheHostUsesIsRefused(t *testing.T) {
	for name, use := range map[string]func(b *bed, link netlink.Link){
		"it has the route 192.0.2.0/24": func(b *bed, link netlink.Link) {
			_, far, _ := net.ParseCIDR("192.0.2.0/24")
			b.Expect(netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: far, Scope: netlink.SCOPE_LINK})).To(Succeed())
		},
		"it is a port of interface ": func(b *bed, link netlink.Link) {
			bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
			b.Expect(netlink.LinkAdd(bridge)).To(Succeed())
			b.Expect(netlink.LinkSetMaster(link, bridge)).To(Succeed())
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, demux.Options{})
			link, err := netlink.LinkByName("w0")
			b.Expect(err).NotTo(HaveOccurred())
			use(b, link)
			err = b.demux.Assign(mac(1), "w0")
			b.Expect(err).To(MatchError(demux.ErrUnfit))
			b.Expect(err).To(MatchError(ContainSubstring(name)))
			b.Expect(b.demux.Workers()).To(BeEmpty())
			b.Expect(programsOn(b, b.indexes[0])).To(BeZero())
		})
	}
}

// A worker on top of the trunk would send clients' frames back to the switch.
func TestAnInterfaceOnATrunkIsNoWorker(t *testing.T) {
	b := start(t, demux.Options{})
	for _, on := range []int{b.trunks[0], b.indexes[0]} {
		name := fmt.Sprintf("upper%d", on)
		upper := &netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: name, ParentIndex: on}, Mode: netlink.MACVLAN_MODE_BRIDGE}
		b.Expect(netlink.LinkAdd(upper)).To(Succeed())
	}
	err := b.demux.Assign(mac(1), fmt.Sprintf("upper%d", b.trunks[0]))
	b.Expect(err).To(MatchError(demux.ErrUnfit))
	b.Expect(err).To(MatchError(ContainSubstring("goes out of trunk " + trunkNames[0])))
	b.Expect(b.demux.Workers()).To(BeEmpty())
	b.Expect(b.demux.Assign(mac(1), fmt.Sprintf("upper%d", b.indexes[0]))).To(Succeed(), "on no trunk")
}

// programsOn counts the programs at tc ingress.
func programsOn(b *bed, ifindex int) int {
	b.t.Helper()
	filters, err := netlink.FilterList(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: ifindex}}, netlink.HANDLE_MIN_INGRESS)
	b.Expect(err).NotTo(HaveOccurred())
	attached, err := link.QueryPrograms(link.QueryOptions{Target: ifindex, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return len(filters) // no TCX
	}
	return len(filters) + len(attached.Programs)
}

// A worker and a trunk that are moved to another network namespace serve nobody there, and
// are served again when they come back.
func TestMovedToAnotherNamespace(t *testing.T) {
	eachMode(t, func(t *testing.T, mode demux.AttachMode) {
		b := start(t, demux.Options{Attach: mode})
		b.assign(mac(1), 0)
		b.learn(0, 1, tag(5))
		home, err := os.Open("/proc/thread-self/ns/net")
		b.Expect(err).NotTo(HaveOccurred())
		b.Expect(unix.Unshare(unix.CLONE_NEWNET)).To(Succeed())
		away, err := os.Open("/proc/thread-self/ns/net")
		b.Expect(err).NotTo(HaveOccurred())
		enter := func(namespace *os.File) { b.Expect(unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET)).To(Succeed()) }
		enter(home)
		move := func(name string, from, to *os.File) {
			enter(from)
			defer enter(home)
			link, err := netlink.LinkByName(name)
			b.Expect(err).NotTo(HaveOccurred())
			b.Expect(netlink.LinkSetNsFd(link, int(to.Fd()))).To(Succeed())
			enter(to)
			b.Expect(netlink.LinkSetIP6AddrGenMode(link, 1)).To(Succeed()) // it sends nothing by itself
			b.Expect(netlink.LinkSetUp(link)).To(Succeed())
			b.Expect(nettest.AwaitOperational(name)).To(Succeed())
		}
		programs := func(name string, namespace *os.File) int {
			enter(namespace)
			defer enter(home)
			link, err := netlink.LinkByName(name)
			b.Expect(err).NotTo(HaveOccurred())
			return programsOn(b, link.Attrs().Index)
		}
		for _, name := range []string{"w0", trunkNames[0]} {
			move(name, home, away)
			b.resync()
			b.Expect(programs(name, away)).To(BeZero())
			move(name, away, home)
			b.resync()
			b.expectAt(1, 0)
		}
		b.far[0].Send(toClient(1))
		b.Eventually(func() uint64 { return b.client(1).Tx.Packets }).Should(BeEquivalentTo(1))
	})
}

// A worker that has never been there is waited for, over a restart as well.
func TestAPendingWorkerIsRememberedOverARestart(t *testing.T) {
	eachMode(t, func(t *testing.T, mode demux.AttachMode) {
		nettest.Enter(t)
		opts := demux.Options{Attach: mode, PinPath: nettest.BPFFS(t)}
		b := startHere(t, opts)
		b.Expect(b.demux.Expect("later", false, false)).To(Succeed())
		b.Expect(b.demux.Assign(mac(1), "later")).To(Succeed())
		b.Expect(b.demux.Close()).To(Succeed())
		b.demux = b.load(opts)
		b.Expect(b.demux.Workers()).To(Equal([]demux.Attachment{{Name: "later"}}))
		nettest.Veth(t, "later", "peer")
		far := nettest.Open(t, "peer")
		b.resync()
		b.sw[0].Send(fromClient(1, tag(5)))
		b.Eventually(far.Count).Should(Equal(1))
	})
}

// An interface whose packets have no Ethernet header, such as a TUN: what looks like a group
// address there is none. A VXLAN-GPE is one too, and needs no device file.
func TestInterfacesWithoutEthernetAreRefused(t *testing.T) {
	b := start(t, demux.Options{})
	request := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	request.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	request.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated("raw0")))
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("vxlan"))
	data := info.AddRtAttr(nl.IFLA_INFO_DATA, nil)
	data.AddRtAttr(nl.IFLA_VXLAN_LEARNING, []byte{0})
	data.AddRtAttr(nl.IFLA_VXLAN_FLOWBASED, []byte{1})
	data.AddRtAttr(iflaVXLANGPE, nil)
	request.AddData(info)
	_, err := request.Execute(unix.NETLINK_ROUTE, 0)
	b.Expect(err).NotTo(HaveOccurred())
	for _, force := range []bool{false, true} {
		_, err := b.demux.AttachWorker("raw0", force)
		b.Expect(err).To(MatchError(ContainSubstring("no Ethernet header")))
	}
	b.Expect(b.demux.Assign(mac(1), "raw0")).To(MatchError(demux.ErrWrongRole))
	b.Expect(b.demux.Workers()).To(BeEmpty())
}

const iflaVXLANGPE = 27
