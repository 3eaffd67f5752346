package wire

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// listenBefore opens a socket on all interfaces, the future ones too, of the
// host, the clients and the workers: one end of every link.
func listenBefore(t *testing.T, p Plan) []packetSocket {
	t.Helper()
	g := NewWithT(t)
	var sockets []packetSocket
	open := func(ns *namespace, err error) {
		g.Expect(err).NotTo(HaveOccurred())
		sockets = append(sockets, openPacket(t, ns, 0))
		g.Expect(ns.close()).To(Succeed())
	}
	open(hostNamespace())
	for name, pid := range p.PIDs {
		open(processNamespace(name, pid))
	}
	return sockets
}

func TestTheLabIsSilentWithoutIPv6(t *testing.T) {
	onEachSwitch(t, func(t *testing.T, kind string) {
		g := NewWithT(t)
		p := newPlan(t, kind, vlan2, vlan2, vlan3, vlan2ad)
		sockets := listenBefore(t, p)
		n, err := Apply(context.Background(), p)
		g.Expect(err).NotTo(HaveOccurred())
		defer n.Close()
		_, err = n.Move(context.Background(), to("c0", vlan3, 1))
		g.Expect(err).NotTo(HaveOccurred())
		until := time.Now().Add(1200 * time.Millisecond)
		for _, s := range sockets {
			s.none(t, time.Until(until))
		}
		// And inside the switch, which no socket heard from the start.
		for name, s := range byName(t, n) {
			g.Expect([]uint64{s.RxPackets, s.TxPackets}).To(Equal([]uint64{0, 0}), name)
		}
	})
}

// What doc.go says remains with IPv6: MLDv2 reports, at the beginning.
func TestTheLabSendsOnlyMLDWithIPv6(t *testing.T) {
	onEachSwitch(t, func(t *testing.T, kind string) {
		g := NewWithT(t)
		p := newPlan(t, kind, vlan2, vlan2)
		p.IPv6 = true
		for i := range p.Clients {
			p.Clients[i].Addresses = append(p.Clients[i].Addresses, netip.MustParsePrefix(fmt.Sprintf("fd00::%d/64", i+1)))
		}
		sockets := listenBefore(t, p)
		n, err := Apply(context.Background(), p)
		g.Expect(err).NotTo(HaveOccurred())
		defer n.Close()
		wired := time.Now()
		var last time.Duration
		for _, s := range sockets {
			for {
				f, ok := s.next(t, time.Until(wired.Add(2*time.Second)))
				if !ok {
					break
				}
				last = max(last, f.at.Sub(wired))
				frame := f.frame
				for ; binary.BigEndian.Uint16(frame[12:]) == probe.Dot1Q; frame = frame[4:] {
				}
				g.Expect(binary.BigEndian.Uint16(frame[12:])).To(BeEquivalentTo(0x86dd), "% x", f.frame)
				g.Expect(frame[14+40+8]).To(BeEquivalentTo(143), "an ICMPv6 message other than MLDv2's report: % x", f.frame)
			}
		}
		g.Expect(last).To(BeNumerically("<", time.Second), "when the last MLD report came after Apply")
		for name, s := range byName(t, n) {
			for _, a := range s.Addresses {
				g.Expect(a.Addr().IsLinkLocalUnicast()).To(BeFalse(), "%s has %v", name, a)
			}
		}
		g.Expect(byName(t, n)["c0/eth0"].Addresses).To(ContainElement(netip.MustParsePrefix("fd00::1/64")))
	})
}
