package wire

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"
)

// superPacket is a TCP packet of several segments with its virtio_net_hdr in
// front, as PACKET_VNET_HDR takes it. (UDP's kind is taken since Linux 6.2 only.)
func superPacket(segments, size int) []byte {
	b := make([]byte, 10)
	b[0] = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM
	b[1] = 1 // VIRTIO_NET_HDR_GSO_TCPV4
	binary.NativeEndian.PutUint16(b[2:], 14+20+20)
	binary.NativeEndian.PutUint16(b[4:], uint16(size))
	binary.NativeEndian.PutUint16(b[6:], 14+20) // where the checksum begins
	binary.NativeEndian.PutUint16(b[8:], 16)    // and where it goes from there
	mac := workerMAC(0)
	b = append(b, mac[:]...)
	mac = clientMAC(0)
	b = append(b, mac[:]...)
	b = append(b, 0x08, 0x00)
	payload := segments * size
	ip := make([]byte, 20)
	ip[0], ip[8], ip[9] = 0x45, 64, 6
	binary.BigEndian.PutUint16(ip[2:], uint16(40+payload))
	copy(ip[12:], []byte{10, 0, 0, 1, 10, 0, 0, 200})
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum+sum>>16))
	pseudo := uint32(6 + 20 + payload)
	for i := 12; i < 20; i += 2 {
		pseudo += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	for pseudo>>16 != 0 {
		pseudo = pseudo&0xffff + pseudo>>16
	}
	tcp := make([]byte, 20+payload)
	binary.BigEndian.PutUint16(tcp, 1000)
	binary.BigEndian.PutUint16(tcp[2:], 2000)
	tcp[12], tcp[13] = 5<<4, 0x10 // header length, ACK
	binary.BigEndian.PutUint16(tcp[16:], uint16(pseudo))
	return append(append(b, ip...), tcp...)
}

func TestSuperPacketsTravelWholeWithOffloadsAndInFramesWithout(t *testing.T) {
	onEachSwitch(t, func(t *testing.T, kind string) {
		for _, c := range []struct {
			client, other bool
			trunk, at1    []int // lengths at the host's trunk end and at c1
		}{
			{true, true, []int{58 + 3000}, []int{54 + 3000}},
			{false, false, []int{1058, 1058, 1058}, []int{1054, 1054, 1054}},
			{true, false, []int{58 + 3000}, []int{1054, 1054, 1054}},
			{false, true, []int{1058, 1058, 1058}, []int{1054, 1054, 1054}},
		} {
			t.Run(fmt.Sprintf("c0 %t c1 %t", c.client, c.other), func(t *testing.T) {
				g := NewWithT(t)
				p := newPlan(t, kind, vlan2, vlan2)
				p.Clients[0].Offloads, p.Clients[1].Offloads = c.client, c.other
				n := lay(t, p)
				tt := openTaps(t, n)
				sender := openPacket(t, n.node("c0"), n.clients[0].far.index)
				g.Expect(unix.SetsockoptInt(sender.fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1)).To(Succeed())
				sender.send(t, superPacket(3, 1000))
				for at, want := range map[string][]int{"host/trunk0": c.trunk, "c1/eth0": c.at1} {
					var got []int
					for range want {
						f, ok := tt[at].next(t, time.Minute)
						g.Expect(ok).To(BeTrue(), "%s: after %v", at, got)
						got = append(got, len(f.frame))
					}
					g.Expect(got).To(Equal(want), "%s, offloads %v", at, c)
					tt[at].none(t, 5*time.Millisecond)
				}
			})
		}
	})
}
