package demux_test

import (
	"encoding/binary"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/linux"
	"github.com/vlandemux/vlandemux/bpf/nettest"
	"golang.org/x/sys/unix"
)

// superPacket is IP with TCP or UDP behind it, for the kernel to segment.
type superPacket struct {
	v6         bool
	udp        bool
	ipOptions  int    // octets of IPv4 options
	extensions []byte // IPv6 extension headers: their types, 8 octets each
	tcpOptions int
	size       int // payload of a segment
	payload    int
	tags       []nettest.Tag
}

// build returns the frame and what AF_PACKET has to be told about it.
func (s superPacket) build(to, from demux.MAC) (nettest.GSO, []byte) {
	transport := make([]byte, 8)
	protocol, place := byte(unix.IPPROTO_UDP), 6
	if s.udp {
		binary.BigEndian.PutUint16(transport[4:], uint16(8+s.payload))
	} else {
		protocol, place = unix.IPPROTO_TCP, 16
		transport = make([]byte, 20+s.tcpOptions)
		transport[12] = byte(len(transport)/4) << 4
		transport[13] = 0x10 // ACK
		for i := 20; i < len(transport); i++ {
			transport[i] = 1 // NOP
		}
	}
	copy(transport, []byte{0x13, 0x88, 0x13, 0x89})

	length := len(transport) + s.payload
	var ip []byte
	var sum uint32
	if s.v6 {
		ip = make([]byte, 40)
		ip[0], ip[7] = 0x60, 64
		binary.BigEndian.PutUint16(ip[4:], uint16(length+8*len(s.extensions)))
		copy(ip[8:], []byte{0xfd, 15: 1})
		copy(ip[24:], []byte{0xfd, 15: 2})
		sum = checksum(ip[8:40], uint32(protocol)+uint32(length))
		next := 6
		for _, extension := range s.extensions {
			ip[next] = extension
			next = len(ip)
			ip = append(ip, 0, 0, 1, 4, 0, 0, 0, 0) // PadN
		}
		ip[next] = protocol
	} else {
		ip = make([]byte, 20+s.ipOptions)
		ip[0], ip[8], ip[9] = byte(0x40|len(ip)/4), 64, protocol
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+length))
		copy(ip[12:], []byte{10, 0, 0, 1, 10, 0, 0, 2})
		for i := 20; i < len(ip); i++ {
			ip[i] = 1 // NOP
		}
		binary.BigEndian.PutUint16(ip[10:], ^uint16(checksum(ip, 0)))
		sum = checksum(ip[12:20], uint32(protocol)+uint32(length))
	}
	binary.BigEndian.PutUint16(transport[place:], uint16(sum)) // of the pseudo header

	ethertype := uint16(0x0800)
	if s.v6 {
		ethertype = 0x86dd
	}
	frame := nettest.Frame{Destination: to, Source: from, Tags: s.tags, EtherType: ethertype, Payload: append(ip, transport...)}.Bytes()
	gso := nettest.GSO{
		Flags: unix.VIRTIO_NET_HDR_F_NEEDS_CSUM, Type: unix.VIRTIO_NET_HDR_GSO_TCPV4,
		HeaderLength: uint16(len(frame)), Size: uint16(s.size),
		ChecksumStart: uint16(len(frame) - len(transport)), ChecksumPlace: uint16(place),
	}
	switch {
	case s.udp:
		gso.Type = unix.VIRTIO_NET_HDR_GSO_UDP_L4
	case s.v6:
		gso.Type = unix.VIRTIO_NET_HDR_GSO_TCPV6
	}
	for i := range s.payload {
		frame = append(frame, byte(i))
	}
	return gso, frame
}

// checksum folds the sum of the 16-bit words, without complementing it.
func checksum(b []byte, sum uint32) uint32 {
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return sum
}

// A super-packet counts as the frames which the kernel makes of it on the next
// interface, octet by octet.
func TestCountsSuperPackets(t *testing.T) {
	inner := []nettest.Tag{{Protocol: 0x8100, TCI: 55}}
	for name, packet := range map[string]superPacket{
		"TCP over IPv4":                 {size: 1448, payload: 30000},
		"TCP with options":              {size: 1000, payload: 5000, tcpOptions: 12},
		"TCP over IPv4 with options":    {size: 1400, payload: 9001, ipOptions: 8},
		"TCP over IPv6":                 {v6: true, size: 1428, payload: 60000, tcpOptions: 12},
		"TCP over IPv6 with extensions": {v6: true, size: 1400, payload: 14001, extensions: []byte{0, 60}},
		"UDP over IPv4":                 {udp: true, size: 1000, payload: 10500},
		"UDP over IPv4 with options":    {udp: true, size: 1000, payload: 10000, ipOptions: 40},
		"UDP over IPv6":                 {v6: true, udp: true, size: 1200, payload: 40001},
		"UDP over IPv6 with extensions": {v6: true, udp: true, size: 1200, payload: 2401, extensions: []byte{60}},
		"of one segment":                {size: 1448, payload: 100},
		"of two small segments":         {size: 100, payload: 101},
		"TCP with an inner tag":         {size: 1448, payload: 20000, tags: inner},
		"UDP over IPv6, inner tag":      {v6: true, udp: true, size: 1200, payload: 7000, tags: inner},
	} {
		t.Run(name, func(t *testing.T) {
			if packet.udp {
				linux.PacketUDPSuper.Need(t)
			}
			b := start(t, demux.Options{})
			b.assign(mac(1), 0)
			b.assign(mac(2), 0)
			b.learn(0, 1, tag(7))
			b.learn(0, 2, tag(8))
			nettest.SegmentInSoftware(t, "w0")
			nettest.SegmentInSoftware(t, "trunk0")
			b.Eventually(b.far[0].Count).Should(Equal(2))
			b.far[0].Reset()
			base := b.client(1)
			segments := (packet.payload + packet.size - 1) / packet.size

			in := packet
			in.tags = append([]nettest.Tag{tag(7)}, packet.tags...)
			gso, frame := in.build(gateway, mac(1))
			b.Expect(b.sw[0].SendRaw(gso, frame)).To(Succeed())
			b.Eventually(b.far[0].Count).Should(Equal(segments))
			counters := b.client(1)
			b.Expect(counters.Rx.Packets - base.Rx.Packets).To(BeEquivalentTo(segments))
			b.Expect(counters.Rx.Bytes - base.Rx.Bytes).To(BeEquivalentTo(b.far[0].Octets() + 4*segments))

			gso, frame = packet.build(mac(1), gateway)
			b.Expect(b.far[0].SendRaw(gso, frame)).To(Succeed())
			b.Eventually(b.sw[0].Count).Should(Equal(segments))
			b.Expect(b.client(1).Tx).To(Equal(demux.Tally{Packets: uint64(segments), Bytes: uint64(b.sw[0].Octets())}))

			b.sw[0].Reset()
			gso, frame = packet.build(broadcast, gateway)
			b.Expect(b.far[0].SendRaw(gso, frame)).To(Succeed())
			b.Eventually(b.sw[0].Count).Should(Equal(2 * segments))
			b.Expect(b.flooded(0)).To(Equal(demux.Tally{Packets: uint64(2 * segments), Bytes: uint64(b.sw[0].Octets())}))

			b.sw[0].Reset()
			gso, frame = packet.build(mac(99), gateway)
			b.Expect(b.far[0].SendRaw(gso, frame)).To(Succeed())
			b.Eventually(b.drops).Should(HaveKeyWithValue("not_assigned", demux.Tally{
				Packets: uint64(segments), Bytes: counters.Rx.Bytes - base.Rx.Bytes - uint64(4*segments),
			}))
		})
	}
}
