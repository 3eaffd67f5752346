package demux_test

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	. "github.com/onsi/gomega"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/nettest"
	"golang.org/x/sys/unix"
)

// seen is a port on a trunk, which sees what the driver has let by.
func (b *bed) seenOn(trunk int) *nettest.Port { return nettest.Open(b.t, trunkNames[trunk]) }

// xdpOn is the XDP program on an interface, 0 for none, and how it is attached.
func (b *bed) xdpOn(name string) (id, mode uint32) {
	b.t.Helper()
	found, err := netlink.LinkByName(name)
	b.Expect(err).NotTo(HaveOccurred())
	if xdp := found.Attrs().Xdp; xdp != nil && xdp.Attached {
		return xdp.ProgId, xdp.AttachMode
	}
	return 0, 0
}

func (b *bed) expectEarly(names ...string) {
	b.t.Helper()
	for _, name := range trunkNames {
		id, mode := b.xdpOn(name)
		want := false
		for _, n := range names {
			want = want || n == name
		}
		if !want {
			b.Expect(id).To(BeZero(), "on %s", name)
			continue
		}
		b.Expect(id).NotTo(BeZero(), "on %s", name)
		b.Expect(mode).To(BeEquivalentTo(nl.XDP_ATTACHED_DRV))
	}
}

// xdpPass is somebody else's program.
func (b *bed) xdpPass() *ebpf.Program {
	pass, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, Flags: unix.BPF_F_XDP_HAS_FRAGS, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()}})
	b.Expect(err).NotTo(HaveOccurred())
	b.t.Cleanup(func() { pass.Close() })
	return pass
}

// What is dropped in the driver counts and is told as at tc, and all else goes on to tc, which has other names for it.
func TestDropsUnknownMACsInTheDriver(t *testing.T) {
	eachMode(t, func(t *testing.T, mode demux.AttachMode) {
		b := start(t, demux.Options{Attach: mode, EarlyDrop: demux.EarlyDropXDP})
		b.expectEarly(trunkNames[:]...)
		b.Expect(b.demux.Trunks()).To(HaveEach(HaveField("EarlyDrop", true)))
		b.assign(mac(1), 0)
		drops, stop := b.watchDrops()
		defer stop()
		trunk := b.seenOn(0)

		qinq := nettest.Tag{Protocol: 0x88a8, TCI: 7<<13 | 9}
		long := fromClient(8, tag(6))
		long.Payload = make([]byte, 8900) // in several pages
		group := fromClient(10, tag(4094))
		group.Destination = broadcast
		unknown := []nettest.Frame{fromClient(9, qinq, tag(5)), long, group}
		var sent [][]byte
		for _, frame := range unknown {
			b.sw[0].Send(frame)
			sent = append(sent, frame.Bytes())
			b.Expect(b.told(drops)).To(Equal(demux.Drop{Reason: demux.DropUnknownClient, MAC: frame.Source, Interface: b.trunks[0], Packets: 1,
				Place: demux.Location{Trunk: b.trunks[0], Protocol: frame.Tags[0].Protocol, TCI: frame.Tags[0].TCI}}))
		}
		b.Eventually(b.drops).Should(Equal(map[string]demux.Tally{"unknown_client": tally(sent...)}))
		b.Expect(trunk.Frames()).To(BeEmpty())

		zero, multicast := fromClient(0, tag(5)), fromClient(0, tag(5))
		zero.Source, multicast.Source = demux.MAC{}, demux.MAC{3}
		untagged, reserved, short := fromClient(9), fromClient(9, tag(4095)), fromClient(9, tag(5))
		short.Payload = nil
		tooShort := short.Bytes()[:19]
		want := [][]byte{}
		for _, frame := range []nettest.Frame{untagged, zero, multicast, reserved} {
			b.sw[0].Send(frame)
			want = append(want, frame.Bytes())
		}
		b.Expect(b.sw[0].SendRaw(nettest.GSO{}, tooShort)).To(Succeed()) // the kernel has no name for it
		b.Expect(b.sw[0].SendRaw(nettest.GSO{}, short.Bytes()[:20])).To(Succeed())
		sent = append(sent, short.Bytes()[:20])
		for _, frame := range []nettest.Frame{fromClient(1, tag(5)), fromClient(1, qinq, tag(7))} {
			b.sw[0].Send(frame)
			want = append(want, frame.Bytes())
		}
		b.Eventually(b.far[0].Frames).Should(Equal([][]byte{fromClient(1).Bytes(), fromClient(1, tag(7)).Bytes()}))
		b.Expect(b.location(1)).To(Equal(demux.Location{Trunk: b.trunks[0], Protocol: 0x88a8, TCI: 7<<13 | 9}))
		b.Expect(b.client(1).Rx).To(Equal(tally(want[4], want[5])))
		b.Expect(b.drops()).To(Equal(map[string]demux.Tally{"unknown_client": tally(sent...), "untagged": tally(want[0]),
			"invalid_source": tally(want[1], want[2]), "invalid_vlan": tally(want[3])}))
		b.Eventually(trunk.Frames).Should(Equal(want))

		b.far[0].Send(toClient(1))
		b.Eventually(b.sw[0].Frames).Should(Equal([][]byte{toClient(1, qinq).Bytes()}))
		b.assign(mac(9), 1)
		b.sw[0].Send(fromClient(9, tag(5)))
		b.Eventually(b.far[1].Count).Should(Equal(1))
		b.Expect(b.demux.Unassign(mac(9))).To(Succeed())
		b.sw[0].Send(fromClient(9, tag(5)))
		sent = append(sent, fromClient(9, tag(5)).Bytes())
		b.Eventually(b.drops).Should(HaveKeyWithValue("unknown_client", tally(sent...)))
		b.Expect(trunk.Count()).To(Equal(len(want) + 1))
	})
}

// A tag that is beside the page is not seen in the driver, and a super-packet is cut before it is there.
func TestEarlyDropLeavesATagBesideThePageToTC(t *testing.T) {
	b := start(t, demux.Options{EarlyDrop: demux.EarlyDropXDP})
	sw, err := netlink.LinkByName("sw0")
	b.Expect(err).NotTo(HaveOccurred())
	b.pushes(sw.Attrs().Index, 5)
	trunk := b.seenOn(0)
	frame := fromClient(9)
	b.sw[0].Send(frame)
	b.Eventually(b.drops).Should(Equal(map[string]demux.Tally{"unknown_client": tally(frame.WithTags(tag(5)).Bytes())}))
	b.Eventually(trunk.Count).Should(Equal(1))

	packet := superPacket{size: 1448, payload: 30000, tags: []nettest.Tag{tag(7)}}
	gso, octets := packet.build(gateway, mac(9))
	b.Expect(b.sw[1].SendRaw(gso, octets)).To(Succeed())
	const headers, segments = 14 + 4 + 20 + 20, 21
	b.Eventually(func() demux.Tally { return b.drops()["unknown_client"] }).Should(And(
		HaveField("Packets", BeEquivalentTo(1+segments)),
		HaveField("Bytes", BeEquivalentTo(len(frame.WithTags(tag(5)).Bytes())+len(octets)+(segments-1)*headers))))
}

// pushes has the kernel put a tag beside what is sent on an interface.
func (b *bed) pushes(ifindex int, vid int32) {
	b.t.Helper()
	push, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "Dual BSD/GPL", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R2, 0x0081), asm.Mov.Imm(asm.R3, vid), asm.FnSkbVlanPush.Call(), asm.Mov.Imm(asm.R0, -1), asm.Return(),
	}})
	b.Expect(err).NotTo(HaveOccurred())
	b.t.Cleanup(func() { push.Close() })
	b.Expect(netlink.QdiscAdd(clsact(ifindex))).To(Succeed())
	b.Expect(netlink.FilterAdd(&netlink.BpfFilter{FilterAttrs: netlink.FilterAttrs{
		LinkIndex: ifindex, Parent: netlink.HANDLE_MIN_EGRESS, Priority: 1, Protocol: unix.ETH_P_ALL,
	}, Fd: push.FD(), Name: "test", DirectAction: true})).To(Succeed())
}

// The option is remembered, and comes and goes at a restart with the same maps and with others. Each frame is counted once, wherever
// it is dropped, and none of a client is lost while the program in the driver is replaced.
func TestEarlyDropComesAndGoesAtARestart(t *testing.T) {
	eachMode(t, func(t *testing.T, mode demux.AttachMode) {
		nettest.Enter(t)
		opts := demux.Options{Attach: mode, PinPath: filepath.Join(nettest.BPFFS(t), "demux")}
		b := startHere(t, opts)
		b.assign(mac(1), 0)
		trunk := b.seenOn(1)
		was, strangers, late := demux.EarlyDropOff, 0, 0
		restart := func(capacity int, want demux.EarlyDropMode) {
			opts.Capacity, opts.EarlyDrop, was = capacity, want, cmp.Or(want, was)
			b.demux = b.load(opts)
			b.Expect(b.demux.Options().EarlyDrop).To(Equal(was))
			b.Expect(b.demux.Close()).To(Succeed())
			if was == demux.EarlyDropXDP { // it goes on without the process
				b.expectEarly(trunkNames[:]...)
			} else {
				b.expectEarly()
				late++
			}
			b.sw[1].Send(fromClient(9, tag(6)))
			strangers++
			b.demux = b.load(demux.Options{Attach: mode, PinPath: opts.PinPath, Capacity: capacity})
			b.Eventually(func() uint64 { return b.drops()["unknown_client"].Packets }).Should(BeEquivalentTo(strangers))
		}
		for i, want := range []demux.EarlyDropMode{"", demux.EarlyDropXDP, demux.EarlyDropXDP, "", demux.EarlyDropOff, "", demux.EarlyDropXDP, demux.EarlyDropOff, demux.EarlyDropXDP} {
			restart(16+i/2*16, want)
			b.learn(0, 1, tag(uint16(10+i)))
		}
		before := b.client(1)
		b.Eventually(b.far[0].Count).Should(BeEquivalentTo(before.Rx.Packets))
		b.far[0].Reset()
		restarts := 6
		if emulated() { // each takes seconds, and traffic is the slower for it
			restarts = 2
		}
		sent := b.traffic(b.far[0], b.sw[0], func() {
			for i := range restarts {
				restart(200+i/2*16, "")
			}
		})
		b.Eventually(func() uint64 { return b.client(1).Rx.Packets }).Should(Equal(before.Rx.Packets + uint64(sent)))
		b.Eventually(func() uint64 { return b.client(1).Tx.Packets }).Should(BeEquivalentTo(sent))
		b.Eventually(b.far[0].Count).Should(Equal(sent))
		b.Eventually(b.sw[0].Count).Should(Equal(sent))
		b.Eventually(trunk.Count).Should(Equal(late))
		octets := uint64(strangers * len(fromClient(9, tag(6)).Bytes()))
		b.Expect(b.drops()).To(Equal(map[string]demux.Tally{"unknown_client": {Packets: uint64(strangers), Bytes: octets}}))
	})
}

// It goes on while nobody is there, and goes with the trunk, with all, and with the pins.
func TestEarlyDropIsDetached(t *testing.T) {
	eachMode(t, func(t *testing.T, mode demux.AttachMode) {
		for name, end := range map[string]func(b *bed, path string) error{
			"by the process": func(b *bed, _ string) error { return b.demux.Detach() },
			"without one":    func(b *bed, path string) error { return errors.Join(b.demux.Close(), demux.RemovePins(path)) },
			"without the maps": func(b *bed, path string) error {
				return errors.Join(b.demux.Close(), b.removeMaps(path), demux.RemovePins(path))
			},
		} {
			t.Run(name, func(t *testing.T) {
				if name == "without the maps" && mode == demux.AttachClsact {
					return // a filter does not tell whose it is
				}
				nettest.Enter(t)
				opts := demux.Options{Attach: mode, EarlyDrop: demux.EarlyDropXDP, PinPath: filepath.Join(nettest.BPFFS(t), "demux")}
				b := startHere(t, opts)
				b.Expect(b.demux.Close()).To(Succeed())
				b.expectEarly(trunkNames[:]...)
				b.demux = b.load(opts)
				b.Expect(b.demux.DetachTrunk(trunkNames[1])).To(Succeed())
				b.expectEarly(trunkNames[0])
				b.Expect(end(b, opts.PinPath)).To(Succeed())
				b.expectEarly()
				b.Expect(opts.PinPath).NotTo(BeADirectory())
			})
		}
	})
	t.Run("with nothing pinned", func(t *testing.T) {
		b := start(t, demux.Options{EarlyDrop: demux.EarlyDropXDP})
		b.Expect(b.demux.Close()).To(Succeed())
		b.expectEarly()
	})
}

func (b *bed) removeMaps(path string) error {
	pins, err := filepath.Glob(path + "/maps_*/*")
	errs := []error{err}
	for _, pin := range pins {
		errs = append(errs, os.Remove(pin))
	}
	return errors.Join(errs...)
}

// A trunk that cannot have it is no trunk, and another's program stays; of a dataplane that runs nothing changes.
func TestEarlyDropIsRefused(t *testing.T) {
	eachMode(t, func(t *testing.T, mode demux.AttachMode) {
		nettest.Enter(t)
		opts := demux.Options{Attach: mode, PinPath: nettest.BPFFS(t)}
		b := startHere(t, opts)
		b.assign(mac(1), 0)
		first := b.demux
		pass := b.xdpPass()
		others, err := link.AttachXDP(link.XDPOptions{Program: pass, Interface: b.trunks[1], Flags: link.XDPDriverMode})
		b.Expect(err).NotTo(HaveOccurred())
		early := opts
		for _, early.Capacity = range []int{16, 32} {
			early.EarlyDrop = demux.EarlyDropXDP
			_, err := demux.Load(early)
			b.Expect(err).To(MatchError(And(ContainSubstring("in the driver of trunk1"), ContainSubstring("another XDP program is on it"), ContainSubstring("give --early-drop off"))))
			b.Expect(first.Trunks()).To(HaveEach(HaveField("EarlyDrop", false)))
			b.Expect(b.xdpOn(trunkNames[0])).To(BeZero())
			b.learn(0, 1, tag(uint16(early.Capacity)))
		}
		b.assign(mac(2), 1) // the earlier one goes on
		b.Expect(others.Close()).To(Succeed())
		early.Capacity = 16
		b.demux = b.load(early)
		b.expectEarly(trunkNames[:]...)

		b.Expect(b.demux.DetachTrunk(trunkNames[1])).To(Succeed())
		trunk1, err := netlink.LinkByName(trunkNames[1])
		b.Expect(err).NotTo(HaveOccurred())
		for _, flags := range []int{nl.XDP_FLAGS_DRV_MODE, nl.XDP_FLAGS_SKB_MODE} {
			b.Expect(netlink.LinkSetXdpFdWithFlags(trunk1, pass.FD(), flags)).To(Succeed())
			on, _ := b.xdpOn(trunkNames[1])
			_, err = b.demux.AttachTrunk(trunkNames[1], true)
			b.Expect(err).To(MatchError(ContainSubstring("another XDP program is on it")))
			b.Expect(programsOn(b, b.trunks[1])).To(BeZero())
			still, _ := b.xdpOn(trunkNames[1])
			b.Expect(still).To(Equal(on))
			b.Expect(netlink.LinkSetXdpFdWithFlags(trunk1, -1, flags)).To(Succeed())
		}
		if mode == demux.AttachTCX { // it is there when the other program cannot be
			pin := filepath.Join(opts.PinPath, fmt.Sprint("link_", b.trunks[1]))
			stone, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
			b.Expect(err).NotTo(HaveOccurred())
			b.Expect(stone.Pin(pin)).To(Succeed())
			b.Expect(b.demux.Expect(trunkNames[1], true, false)).To(Succeed())
			b.Expect(b.demux.Resync()).To(ConsistOf(HaveField("Err", MatchError(ContainSubstring("pin is in the way")))))
			b.expectEarly(trunkNames[0])
			b.Expect(errors.Join(stone.Unpin(), stone.Close(), b.demux.DetachTrunk(trunkNames[1]))).To(Succeed())
		}
		upper := &netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: "upper", ParentIndex: b.trunks[1]}, Mode: netlink.MACVLAN_MODE_BRIDGE}
		b.Expect(netlink.LinkAdd(upper)).To(Succeed())
		_, err = b.demux.AttachTrunk("upper", false)
		b.Expect(err).To(MatchError(And(ContainSubstring("in the driver of upper"), ContainSubstring("no native XDP"))))
		b.Expect(programsOn(b, upper.Index)).To(BeZero())
		b.Expect(b.demux.Trunks()).To(HaveLen(1))
	})
}

// It cannot be where frames of unknown MACs go on, whether that is given or remembered.
func TestEarlyDropTakesThatUnknownMACsAreDropped(t *testing.T) {
	nettest.Enter(t)
	opts := demux.Options{PinPath: nettest.BPFFS(t), Unknown: demux.UnknownPass}
	b := startHere(t, opts)
	b.assign(mac(1), 0)
	refused := func(unknown string, early demux.EarlyDropMode) {
		b.t.Helper()
		_, err := demux.Load(demux.Options{PinPath: opts.PinPath, Unknown: unknown, EarlyDrop: early})
		b.Expect(err).To(MatchError(ContainSubstring("give --unknown drop or --early-drop off")))
	}
	refused("", demux.EarlyDropXDP)
	refused("w2", demux.EarlyDropXDP)
	_, err := demux.Load(demux.Options{Unknown: demux.UnknownPass, EarlyDrop: demux.EarlyDropXDP})
	b.Expect(err).To(MatchError(ContainSubstring("give --unknown drop")))
	b.assign(mac(2), 0) // it goes on
	b.demux = b.load(demux.Options{PinPath: opts.PinPath, Unknown: demux.UnknownDrop, EarlyDrop: demux.EarlyDropXDP})
	refused(demux.UnknownPass, "")
	b.demux = b.load(demux.Options{PinPath: opts.PinPath, Unknown: demux.UnknownPass, EarlyDrop: demux.EarlyDropOff})
	b.expectEarly()
	_, err = demux.Load(demux.Options{EarlyDrop: "soon"})
	b.Expect(err).To(MatchError(ContainSubstring(`"off" or "xdp" is possible`)))
}

// Somebody takes it off by force, deletes the trunk and makes it again, or gives it another name.
func TestEarlyDropIsRestored(t *testing.T) {
	eachMode(t, func(t *testing.T, mode demux.AttachMode) {
		nettest.Enter(t)
		opts := demux.Options{Attach: mode, EarlyDrop: demux.EarlyDropXDP, PinPath: nettest.BPFFS(t)}
		b := startHere(t, opts)
		b.detachXDP(opts.PinPath)
		b.expectEarly()
		b.Expect(b.demux.Resync()).To(ConsistOf(HaveField("Err", BeNil()), HaveField("Err", BeNil())))
		b.expectEarly(trunkNames[:]...)
		b.detachXDP(opts.PinPath)
		b.demux = b.load(opts)
		b.expectEarly(trunkNames[:]...)

		for _, restart := range []bool{false, true} {
			nettest.Delete(t, "trunk0")
			b.trunks[0], _ = nettest.Veth(t, "trunk0", "sw0")
			b.rename("trunk1", "away")
			b.rename("away", "trunk1")
			if restart {
				b.demux = b.load(opts)
			}
			b.resync()
			b.expectEarly(trunkNames[:]...)
		}
	})
}

// detachXDP takes the links off as `bpftool link detach` does.
func (b *bed) detachXDP(path string) {
	b.t.Helper()
	pins, err := filepath.Glob(path + "/link_*")
	b.Expect(err).NotTo(HaveOccurred())
	for _, pin := range pins {
		pinned, err := link.LoadPinnedLink(pin, nil)
		b.Expect(err).NotTo(HaveOccurred())
		info, err := pinned.Info()
		b.Expect(err).NotTo(HaveOccurred())
		if info.XDP() != nil {
			b.Expect(pinned.Detach()).To(Succeed())
		}
		b.Expect(pinned.Close()).To(Succeed())
	}
}
