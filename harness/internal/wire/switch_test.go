package wire

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

var broadcast = demux.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func TestSwitchTagsTowardsTheTrunk(t *testing.T) {
	onEachSwitch(t, func(t *testing.T, kind string) {
		p := newPlan(t, kind, vlan2, vlan3, vlan2ad, vlan2)
		p.Clients[3].Trunk = 1
		tt := openTaps(t, lay(t, p))
		for i, want := range []struct {
			trunk string
			vlan  VLAN
		}{{"host/trunk0", vlan2}, {"host/trunk0", vlan3}, {"host/trunk0", vlan2ad}, {"host/trunk1", vlan2}} {
			client := p.Clients[i].Name + "/eth0"
			up := newFrame(clientMAC(i), broadcast)
			tt.expect(t, client, up, map[string][]byte{want.trunk: tagged(up, want.vlan)})
			down := newFrame(workerMAC(0), clientMAC(i))
			tt.expect(t, want.trunk, tagged(down, want.vlan), map[string][]byte{client: down})
		}
	})
}

func TestSwitchKeepsInnerTags(t *testing.T) {
	onEachSwitch(t, func(t *testing.T, kind string) {
		tt := openTaps(t, lay(t, newPlan(t, kind, vlan2, vlan3)))
		for _, inner := range [][]VLAN{{{Protocol: probe.Dot1Q, VID: 7}}, {{Protocol: probe.Dot1AD, VID: 7}}, {{Protocol: probe.Dot1AD, VID: 7}, {Protocol: probe.Dot1Q, VID: 2}}} {
			up := newFrame(clientMAC(0), broadcast, inner...)
			tt.expect(t, "c0/eth0", up, map[string][]byte{"host/trunk0": tagged(up, vlan2)})
			down := newFrame(workerMAC(0), clientMAC(0), inner...)
			tt.expect(t, "host/trunk0", tagged(down, vlan2), map[string][]byte{"c0/eth0": down})
		}
	})
}

func TestSwitchDropsWhatNoVLANIsFor(t *testing.T) {
	onEachSwitch(t, func(t *testing.T, kind string) {
		tt := openTaps(t, lay(t, newPlan(t, kind, vlan2, vlan3)))
		nowhere := map[string][]byte{}
		untagged := newFrame(workerMAC(0), broadcast)
		tt.expect(t, "host/trunk0", untagged, nowhere)
		tt.expect(t, "host/trunk0", tagged(untagged, VLAN{Protocol: probe.Dot1Q, VID: 4}), nowhere)
		tt.expect(t, "host/trunk0", tagged(untagged, vlan2ad), nowhere)
		tt.expect(t, "host/trunk1", tagged(untagged, vlan2), nowhere)
	})
}

// A tag that a client sends is payload, whatever a switch could take it for: a
// priority tag, one of the port's own VLAN, one of another's.
func TestSwitchTakesAClientsTagForPayload(t *testing.T) {
	onEachSwitch(t, func(t *testing.T, kind string) {
		tt := openTaps(t, lay(t, newPlan(t, kind, vlan2, vlan2, vlan3, vlan2ad)))
		const pcp5, dei = 5 << 13, 1 << 12
		for _, tci := range []uint16{0, pcp5, pcp5 | dei, 2, 2 | pcp5, 3 | dei} {
			for _, protocol := range []uint16{probe.Dot1Q, probe.Dot1AD} {
				up := newFrame(clientMAC(0), broadcast, VLAN{Protocol: protocol, VID: tci})
				tt.expect(t, "c0/eth0", up, map[string][]byte{"c1/eth0": up, "host/trunk0": tagged(up, vlan2)})
				up = newFrame(clientMAC(3), broadcast, VLAN{Protocol: protocol, VID: tci})
				tt.expect(t, "c3/eth0", up, map[string][]byte{"host/trunk0": tagged(up, vlan2ad)})
			}
		}
	})
}

func TestSwitchLooksAtNoPriorityOnTheTrunk(t *testing.T) {
	onEachSwitch(t, func(t *testing.T, kind string) {
		tt := openTaps(t, lay(t, newPlan(t, kind, vlan2, vlan2ad)))
		down := newFrame(workerMAC(0), broadcast, VLAN{Protocol: probe.Dot1Q, VID: 7 | 3<<13})
		for _, bits := range []uint16{5 << 13, 1 << 12, 0xf000} {
			tt.expect(t, "host/trunk0", tagged(down, VLAN{Protocol: probe.Dot1Q, VID: 2 | bits}), map[string][]byte{"c0/eth0": down})
			tt.expect(t, "host/trunk0", tagged(down, VLAN{Protocol: probe.Dot1AD, VID: 2 | bits}), map[string][]byte{"c1/eth0": down})
			tt.expect(t, "host/trunk0", tagged(down, VLAN{Protocol: probe.Dot1Q, VID: bits}), map[string][]byte{})
		}
	})
}

// One VID is as many places as there are trunks and protocols, and no number
// that a switch uses inside is one of them.
func TestSwitchTellsPlacesOfOneVIDApart(t *testing.T) {
	onEachSwitch(t, func(t *testing.T, kind string) {
		g := NewWithT(t)
		p := newPlan(t, kind, vlan2, vlan2ad, vlan2, vlan2ad)
		p.Clients[2].Trunk, p.Clients[3].Trunk = 1, 1
		n := lay(t, p)
		tt := openTaps(t, n)
		check := func(places ...Place) {
			t.Helper()
			for i, at := range places {
				client, trunk := fmt.Sprintf("c%d/eth0", i), fmt.Sprintf("host/trunk%d", at.Trunk)
				up := newFrame(clientMAC(i), broadcast)
				tt.expect(t, client, up, map[string][]byte{trunk: tagged(up, at.VLAN)})
				down := newFrame(workerMAC(0), broadcast)
				tt.expect(t, trunk, tagged(down, at.VLAN), map[string][]byte{client: down})
			}
		}
		check(at(0, vlan2), at(0, vlan2ad), at(1, vlan2), at(1, vlan2ad))
		for vid := uint16(lastVID); vid > lastVID-4; vid-- {
			for _, protocol := range []uint16{probe.Dot1Q, probe.Dot1AD} {
				stray := tagged(newFrame(workerMAC(0), broadcast), VLAN{Protocol: protocol, VID: vid})
				tt.expect(t, "host/trunk0", stray, map[string][]byte{})
				tt.expect(t, "host/trunk1", stray, map[string][]byte{})
			}
		}
		places := []Place{at(1, VLAN{Protocol: probe.Dot1Q, VID: lastVID}), at(0, VLAN{Protocol: probe.Dot1Q, VID: lastVID}), at(1, VLAN{Protocol: probe.Dot1AD, VID: lastVID - 1}), at(0, vlan2)}
		for i, p := range places {
			_, err := n.Move(context.Background(), Move{fmt.Sprintf("c%d", i), p})
			g.Expect(err).NotTo(HaveOccurred())
		}
		check(places...)
	})
}

func TestSwitchLearns(t *testing.T) {
	onEachSwitch(t, func(t *testing.T, kind string) {
		tt := openTaps(t, lay(t, newPlan(t, kind, vlan2, vlan2, vlan2, vlan3)))
		hello := newFrame(clientMAC(0), broadcast)
		tt.expect(t, "c0/eth0", hello, map[string][]byte{
			"c1/eth0": hello, "c2/eth0": hello, "host/trunk0": tagged(hello, vlan2),
		})
		known := newFrame(clientMAC(1), clientMAC(0))
		tt.expect(t, "c1/eth0", known, map[string][]byte{"c0/eth0": known})
		unknown := newFrame(clientMAC(0), clientMAC(2))
		tt.expect(t, "c0/eth0", unknown, map[string][]byte{
			"c1/eth0": unknown, "c2/eth0": unknown, "host/trunk0": tagged(unknown, vlan2),
		})
		// An address heard on the trunk is behind the trunk.
		down := newFrame(workerMAC(0), clientMAC(0))
		tt.expect(t, "host/trunk0", tagged(down, vlan2), map[string][]byte{"c0/eth0": down})
		up := newFrame(clientMAC(1), workerMAC(0))
		tt.expect(t, "c1/eth0", up, map[string][]byte{"host/trunk0": tagged(up, vlan2)})
		// Not back out of where it came from.
		self := newFrame(clientMAC(1), clientMAC(1))
		tt.expect(t, "c1/eth0", self, map[string][]byte{})
	})
}

func TestSwitchForwardsLinkLocalGroups(t *testing.T) {
	onEachSwitch(t, func(t *testing.T, kind string) {
		tt := openTaps(t, lay(t, newPlan(t, kind, vlan2, vlan2)))
		for last := byte(0); last < 16; last++ {
			f := newFrame(clientMAC(0), demux.MAC{0x01, 0x80, 0xc2, 0, 0, last})
			want := map[string][]byte{"c1/eth0": f, "host/trunk0": tagged(f, vlan2)}
			if last == 1 { // MAC pause never leaves a link
				want = map[string][]byte{}
			}
			tt.expect(t, "c0/eth0", f, want)
		}
	})
}

func TestSwitchDropsInvalidSources(t *testing.T) {
	onEachSwitch(t, func(t *testing.T, kind string) {
		tt := openTaps(t, lay(t, newPlan(t, kind, vlan2, vlan2)))
		for _, source := range []demux.MAC{{}, broadcast, {1, 0, 0x5e, 0, 0, 1}} {
			tt.expect(t, "c0/eth0", newFrame(source, clientMAC(1)), map[string][]byte{})
			tt.expect(t, "host/trunk0", tagged(newFrame(source, clientMAC(1)), vlan2), map[string][]byte{})
		}
	})
}

func TestSwitchCarriesTheLargestFrames(t *testing.T) {
	onEachSwitch(t, func(t *testing.T, kind string) {
		for _, mtu := range []int{1500, 9000} {
			t.Run(strconv.Itoa(mtu), func(t *testing.T) {
				p := newPlan(t, kind, vlan2ad)
				p.MTU = mtu
				tt := openTaps(t, lay(t, p))
				up := frameOf(1, mtu+14, clientMAC(0), broadcast, VLAN{Protocol: probe.Dot1Q, VID: 7}) // and the tag beyond it
				tt.expect(t, "c0/eth0", up, map[string][]byte{"host/trunk0": tagged(up, vlan2ad)})
				down := frameOf(2, mtu+14, workerMAC(0), clientMAC(0), VLAN{Protocol: probe.Dot1AD, VID: 7})
				tt.expect(t, "host/trunk0", tagged(down, vlan2ad), map[string][]byte{"c0/eth0": down})
				work := frameOf(3, mtu+14, clientMAC(0), workerMAC(0), VLAN{Protocol: probe.Dot1Q, VID: 7})
				tt.expect(t, "host/w0", work, map[string][]byte{"w0/eth0": work})
			})
		}
	})
}

// What could not be made is not there to be closed.
func TestASwitchThatCannotBeMadeIsNone(t *testing.T) {
	g := NewWithT(t)
	ns, err := scratchNamespace("a test")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(ns.close()).To(Succeed())
	s, err := kindTC().build(inside{ns: ns})
	g.Expect(err).To(MatchError(ContainSubstring("a test")))
	g.Expect(s).To(BeNil())
}
