package vlanport_test

import (
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/vishvananda/netlink"

	"github.com/vlandemux/vlandemux/bpf/nettest"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
	"github.com/vlandemux/vlandemux/harness/internal/vlanport"
)

const (
	c8021Q  = 0x8100
	c8021AD = 0x88a8
)

// bed is a switch with a trunk and four access ports, of which 0 and 1 are in
// VLAN 10, 2 in VLAN 20 and 3 in VLAN 10 of 802.1ad.
//
//	far[0..3] -- a0..a3 [switch] trunk == up
type bed struct {
	*GomegaWithT
	sw    *vlanport.Switch
	trunk int
	ports [4]int
	up    *nettest.Port
	far   [4]*nettest.Port
}

func start(t *testing.T) *bed {
	nettest.Enter(t)
	b := &bed{GomegaWithT: NewWithT(t)}
	b.SetDefaultEventuallyTimeout(10 * time.Second) // the machine may be busy
	sw, err := vlanport.Load()
	b.Expect(err).NotTo(HaveOccurred())
	b.sw = sw
	t.Cleanup(func() { b.Expect(sw.Close()).To(Succeed()) })
	b.trunk, _ = nettest.Veth(t, "trunk", "up")
	b.up = nettest.Open(t, "up")
	b.Expect(sw.AddTrunk(b.trunk)).To(Succeed())
	for i, vlan := range []probe.VLAN{{Protocol: c8021Q, VID: 10}, {Protocol: c8021Q, VID: 10}, {Protocol: c8021Q, VID: 20}, {Protocol: c8021AD, VID: 10}} {
		b.ports[i], _ = nettest.Veth(t, fmt.Sprintf("a%d", i), fmt.Sprintf("c%d", i))
		b.far[i] = nettest.Open(t, fmt.Sprintf("c%d", i))
		b.Expect(sw.AddPorts(vlanport.Access{Index: b.ports[i], VLAN: vlan, Trunk: b.trunk})).To(Succeed())
	}
	return b
}

var broadcast = [6]byte{255, 255, 255, 255, 255, 255}

func mac(n byte) [6]byte { return [6]byte{2, 0, 0, 0, 0, n} }

func frame(to, from [6]byte, tags ...nettest.Tag) nettest.Frame {
	return nettest.Frame{Destination: to, Source: from, Tags: tags, Payload: make([]byte, 60)}
}

func tag(protocol, tci uint16) nettest.Tag { return nettest.Tag{Protocol: protocol, TCI: tci} }

// expect checks that each frame, and nothing else, has come in since the last
// call; a marker frame that everyone gets shows that all others are through.
func (b *bed) expect(up []nettest.Frame, far ...[]nettest.Frame) {
	all := append([]*nettest.Port{b.up}, b.far[:]...)
	want := append([][]nettest.Frame{up}, far...)
	for i, port := range all {
		var expected [][]byte
		if i < len(want) {
			for _, f := range want[i] {
				expected = append(expected, f.Bytes())
			}
		}
		b.Eventually(port.Frames).Should(HaveLen(len(expected)), "port %d", i)
		if len(expected) > 0 {
			b.Expect(port.Frames()).To(Equal(expected), "port %d", i)
		}
	}
	b.Consistently(func() (n int) {
		for _, port := range all {
			n += port.Count()
		}
		return n
	}, "20ms").Should(Equal(func() (n int) {
		for _, frames := range want {
			n += len(frames)
		}
		return n
	}()))
	for _, port := range all {
		port.Reset()
	}
}

func TestFloodsWithinTheVLAN(t *testing.T) {
	b := start(t)
	group := frame(broadcast, mac(1))
	b.far[0].Send(group)
	b.expect([]nettest.Frame{group.WithTags(tag(c8021Q, 10))}, nil, []nettest.Frame{group})

	unknown := frame(mac(77), mac(3))
	b.far[3].Send(unknown)
	b.expect([]nettest.Frame{unknown.WithTags(tag(c8021AD, 10))})

	down := frame(broadcast, mac(9), tag(c8021Q, 5<<13|1<<12|10))
	b.up.Send(down)
	b.expect(nil, []nettest.Frame{down.WithTags()}, []nettest.Frame{down.WithTags()})
}

func TestLearns(t *testing.T) {
	b := start(t)
	for i := range b.far {
		b.far[i].Send(frame(broadcast, mac(byte(i))))
	}
	b.Eventually(b.up.Count).Should(Equal(4))
	b.Eventually(b.far[0].Count).Should(Equal(1))
	b.Eventually(b.far[1].Count).Should(Equal(1))
	for _, port := range append(b.far[:], b.up) {
		port.Reset()
	}

	local := frame(mac(1), mac(0))
	b.far[0].Send(local)
	b.expect(nil, nil, []nettest.Frame{local})

	down := frame(mac(2), mac(9), tag(c8021Q, 20))
	b.up.Send(down)
	b.expect(nil, nil, nil, []nettest.Frame{down.WithTags()})

	up := frame(mac(9), mac(2))
	b.far[2].Send(up)
	b.expect([]nettest.Frame{up.WithTags(tag(c8021Q, 20))})

	other := frame(mac(9), mac(0)) // learned in VLAN 20, unknown in 10
	b.far[0].Send(other)
	b.expect([]nettest.Frame{other.WithTags(tag(c8021Q, 10))}, nil, []nettest.Frame{other})

	b.far[0].Send(frame(mac(0), mac(50))) // never back out of the same port
	b.up.Send(frame(mac(9), mac(51), tag(c8021Q, 20)))
	b.expect(nil)

	b.far[1].Send(frame(mac(0), mac(0))) // the station has moved to this port
	moved := frame(mac(0), mac(9), tag(c8021Q, 10))
	b.up.Send(moved)
	b.expect(nil, nil, []nettest.Frame{moved.WithTags()})
}

func TestDropsWhatABridgeDrops(t *testing.T) {
	b := start(t)
	pause := [6]byte{0x01, 0x80, 0xc2, 0, 0, 1}
	for _, f := range []nettest.Frame{
		frame(broadcast, [6]byte{}), frame(broadcast, [6]byte{3, 0, 0, 0, 0, 1}), frame(pause, mac(0)),
	} {
		b.far[0].Send(f)
		b.up.Send(f.WithTags(tag(c8021Q, 10)))
	}
	b.up.Send(frame(broadcast, mac(9)))
	b.up.Send(frame(broadcast, mac(9), tag(c8021Q, 11)))
	b.up.Send(frame(broadcast, mac(9), tag(c8021AD, 20)))
	b.up.Send(frame(broadcast, mac(9), tag(c8021Q, 0)))
	b.expect(nil)

	lacp := frame([6]byte{0x01, 0x80, 0xc2, 0, 0, 2}, mac(0))
	b.far[0].Send(lacp)
	b.expect([]nettest.Frame{lacp.WithTags(tag(c8021Q, 10))}, nil, []nettest.Frame{lacp})
}

func TestInnerTagSurvives(t *testing.T) {
	b := start(t)
	inner := []nettest.Tag{tag(c8021Q, 3<<13|30), tag(c8021Q, 40)}
	up := frame(broadcast, mac(0), inner...)
	b.far[0].Send(up)
	b.expect([]nettest.Frame{up.WithTags(tag(c8021Q, 10), inner[0], inner[1])}, nil, []nettest.Frame{up})
	down := frame(mac(0), mac(9), tag(c8021Q, 10), inner[0], inner[1])
	b.up.Send(down)
	b.expect(nil, []nettest.Frame{down.WithTags(inner...)})
}

func TestMovePort(t *testing.T) {
	b := start(t)
	move := func(port int, vid uint16) {
		t.Helper()
		b.Expect(b.sw.MovePort(vlanport.Access{Index: b.ports[port], VLAN: probe.VLAN{Protocol: c8021Q, VID: vid}, Trunk: b.trunk})).To(Succeed())
	}
	b.far[0].Send(frame(broadcast, mac(0)))
	b.expect([]nettest.Frame{frame(broadcast, mac(0), tag(c8021Q, 10))}, nil, []nettest.Frame{frame(broadcast, mac(0))})
	move(0, 20)

	old := frame(mac(0), mac(9), tag(c8021Q, 10)) // forgotten there
	b.up.Send(old)
	b.expect(nil, nil, []nettest.Frame{old.WithTags()})

	moved := frame(broadcast, mac(0))
	b.far[0].Send(moved)
	b.expect([]nettest.Frame{moved.WithTags(tag(c8021Q, 20))}, nil, nil, []nettest.Frame{moved})

	down := frame(mac(0), mac(9), tag(c8021Q, 20))
	b.up.Send(down)
	b.expect(nil, []nettest.Frame{down.WithTags()})

	move(0, 10)
	again := frame(mac(0), mac(9), tag(c8021Q, 10)) // nothing is known from before
	b.up.Send(again)
	b.expect(nil, []nettest.Frame{again.WithTags()}, []nettest.Frame{again.WithTags()})
	move(0, 20)

	move(1, 30)
	b.up.Send(frame(broadcast, mac(9), tag(c8021Q, 10))) // no port left in it
	b.expect(nil)
}

func TestMovePortBetweenTrunks(t *testing.T) {
	b := start(t)
	second, _ := nettest.Veth(t, "trunk2", "up2")
	up2 := nettest.Open(t, "up2")
	b.Expect(b.sw.AddTrunk(second)).To(Succeed())
	link, err := netlink.LinkByIndex(b.ports[0])
	b.Expect(err).NotTo(HaveOccurred())
	before, err := netlink.QdiscList(link)
	b.Expect(err).NotTo(HaveOccurred())
	b.Expect(b.sw.MovePort(vlanport.Access{Index: b.ports[0], VLAN: probe.VLAN{Protocol: c8021Q, VID: 10}, Trunk: second})).To(Succeed())
	b.Expect(netlink.QdiscList(link)).To(Equal(before), "the qdisc is the one that was there")

	up := frame(broadcast, mac(0))
	b.far[0].Send(up)
	b.Eventually(up2.Frames).Should(Equal([][]byte{up.WithTags(tag(c8021Q, 10)).Bytes()}))
	b.expect(nil) // neither the old trunk nor the port that stays in VLAN 10 of it
	down := frame(mac(0), mac(9), tag(c8021Q, 10))
	up2.Send(down)
	b.expect(nil, []nettest.Frame{down.WithTags()})
}

func TestRefuses(t *testing.T) {
	b := start(t)
	b.Expect(b.sw.AddTrunk(b.ports[0])).To(MatchError(vlanport.ErrInUse))
	b.Expect(b.sw.AddPorts(vlanport.Access{Index: b.trunk, VLAN: probe.VLAN{Protocol: c8021Q, VID: 1}, Trunk: b.trunk})).To(MatchError(vlanport.ErrInUse))
	b.Expect(b.sw.AddPorts(vlanport.Access{Index: 9999, VLAN: probe.VLAN{Protocol: c8021Q, VID: 1}, Trunk: 8888})).To(MatchError(vlanport.ErrUnknown))
	b.Expect(b.sw.AddTrunk(9999)).To(HaveOccurred())
	for _, vlan := range []probe.VLAN{{Protocol: c8021Q, VID: 0}, {Protocol: c8021Q, VID: 4095}, {Protocol: 0x9100, VID: 5}} {
		b.Expect(b.sw.MovePort(vlanport.Access{Index: b.ports[0], VLAN: vlan, Trunk: b.trunk})).To(HaveOccurred())
		b.Expect(b.sw.AddPorts(vlanport.Access{Index: 9999, VLAN: vlan, Trunk: b.trunk})).To(HaveOccurred())
	}
	for _, a := range []vlanport.Access{{Index: b.trunk, Trunk: b.trunk}, {Index: b.ports[0], Trunk: b.ports[1]}} {
		a.VLAN = probe.VLAN{Protocol: c8021Q, VID: 5}
		b.Expect(b.sw.MovePort(a)).To(MatchError(vlanport.ErrUnknown))
	}
	b.Expect(b.sw.Close()).To(Succeed())
	b.Expect(b.sw.Close()).To(Succeed())
	b.Expect(b.sw.AddTrunk(b.trunk)).To(MatchError(vlanport.ErrClosed))
	b.far[0].Send(frame(broadcast, mac(0)))
	b.Consistently(b.up.Count, "20ms").Should(BeZero())
}
