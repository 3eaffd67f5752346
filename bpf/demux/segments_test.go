package demux

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	. "github.com/onsi/gomega"
	"github.com/vlandemux/vlandemux/bpf/nettest"
)

// layer puts a header in front of what is in the packet.
type layer func(inner []byte) []byte

// packet puts the layers around octets of payload, the first outermost. It begins with
// the network header.
func packet(octets int, layers ...layer) []byte {
	data := make([]byte, octets)
	for _, layer := range slices.Backward(layers) {
		data = layer(data)
	}
	return data
}

func raw(header ...byte) layer {
	return func(inner []byte) []byte { return append(slices.Clone(header), inner...) }
}

func ipv4(protocol byte, options int) layer {
	return func(inner []byte) []byte {
		header := make([]byte, 20+options)
		header[0], header[9] = byte(0x40|len(header)/4), protocol
		binary.BigEndian.PutUint16(header[2:], uint16(len(header)+len(inner)))
		return append(header, inner...)
	}
}

func ipv6(next byte) layer {
	return func(inner []byte) []byte {
		header := make([]byte, 40)
		header[0], header[6] = 0x60, next
		binary.BigEndian.PutUint16(header[4:], uint16(len(inner)))
		return append(header, inner...)
	}
}

// jumbo is IPv6 as the kernel makes it for more than 64 KiB.
func jumbo(next byte) layer {
	return func(inner []byte) []byte {
		data := ipv6(0)(append([]byte{next, 0, 0xc2, 4, 0, 1, 0, 0}, inner...))
		binary.BigEndian.PutUint16(data[4:], 0)
		return data
	}
}

func ethernet(ethertype uint16, tags int) layer {
	return func(inner []byte) []byte {
		header := make([]byte, 12)
		for range tags {
			header = append(header, 0x81, 0, 0, 7)
		}
		return append(binary.BigEndian.AppendUint16(header, ethertype), inner...)
	}
}

func gre(flags byte, protocol uint16, optional int) layer {
	return func(inner []byte) []byte {
		header := binary.BigEndian.AppendUint16([]byte{flags, 0}, protocol)
		return append(append(header, make([]byte, optional)...), inner...)
	}
}

var (
	udp    = raw(make([]byte, 8)...)
	sctp   = raw(make([]byte, 12)...)
	tcp    = raw(slices.Concat(make([]byte, 12), []byte{0x80}, make([]byte, 19))...) // 12 octets of options
	vxlan  = raw(8, 0, 0, 0, 0, 0, 5, 0)
	gpe    = raw(0x0c, 0, 0, 1, 0, 0, 5, 0)
	geneve = raw(2, 0, 0x65, 0x58, 0, 0, 5, 0, 0, 0, 0, 1, 0, 0, 0, 1)
)

// A super-packet counts as the segments which the kernel makes of it: each with the
// headers up to the innermost. Most of these cannot be had from a veth, nor from every
// kernel, hence test runs.
func TestCountsSegments(t *testing.T) {
	const (
		size    = 500
		payload = 1800
		byFrags = 0xffff
		noSegs  = 0 // of an untrusted source (SKB_GSO_DODGY), such as a virtual machine
	)
	for _, test := range []struct {
		name           string
		ethertype      uint16
		segments, size uint32
		layers         []layer
		header         int // of a segment, Ethernet included
		want           int // segments
	}{
		{"no number of segments", 0x0800, noSegs, size, []layer{ipv4(17, 0), udp}, 42, 4},
		{"a wrong number of segments", 0x0800, 1, size, []layer{ipv4(17, 0), udp}, 42, 4},
		{"no super-packet", 0x0800, noSegs, 0, []layer{ipv4(17, 0), udp}, 42, 1},
		{"unknown protocol", 0x88b5, 4, size, []layer{ipv4(17, 0), udp}, 0, 4},
		{"unknown transport", 0x0800, 4, size, []layer{ipv4(99, 0), udp}, 0, 4},
		{"TCP in VXLAN", 0x0800, noSegs, size, []layer{ipv4(17, 0), udp, vxlan, ethernet(0x0800, 0), ipv4(6, 0), tcp}, 14 + 20 + 8 + 8 + 14 + 20 + 32, 4},
		{"TCP over IPv6 in VXLAN over IPv6, tagged", 0x86dd, noSegs, size, []layer{ipv6(17), udp, vxlan, ethernet(0x86dd, 1), ipv6(6), tcp}, 14 + 40 + 8 + 8 + 18 + 40 + 32, 4},
		{"UDP in VXLAN", 0x0800, noSegs, size, []layer{ipv4(17, 4), udp, vxlan, ethernet(0x0800, 0), ipv4(17, 8), udp}, 14 + 24 + 8 + 8 + 14 + 28 + 8, 4},
		{"TCP in VXLAN-GPE", 0x0800, noSegs, size, []layer{ipv4(17, 0), udp, gpe, ipv4(6, 0), tcp}, 14 + 20 + 8 + 8 + 20 + 32, 4},
		{"TCP in Geneve with an option", 0x0800, noSegs, size, []layer{ipv4(17, 0), udp, geneve, ethernet(0x0800, 0), ipv4(6, 0), tcp}, 14 + 20 + 8 + 16 + 14 + 20 + 32, 4},
		{"TCP in IP in UDP", 0x0800, noSegs, size, []layer{ipv4(17, 0), udp, ipv4(6, 0), tcp}, 14 + 20 + 8 + 20 + 32, 4},
		{"TCP in GRE", 0x0800, noSegs, size, []layer{ipv4(47, 0), gre(0, 0x0800, 0), ipv4(6, 0), tcp}, 14 + 20 + 4 + 20 + 32, 4},
		{"TCP in GRE with checksum, key and number", 0x0800, noSegs, size, []layer{ipv4(47, 0), gre(0xb0, 0x86dd, 12), ipv6(6), tcp}, 14 + 20 + 16 + 40 + 32, 4},
		{"TCP in Ethernet in GRE", 0x0800, noSegs, size, []layer{ipv4(47, 0), gre(0x20, 0x6558, 4), ethernet(0x0800, 0), ipv4(6, 0), tcp}, 14 + 20 + 8 + 14 + 20 + 32, 4},
		{"TCP in IPIP", 0x0800, noSegs, size, []layer{ipv4(4, 0), ipv4(6, 0), tcp}, 14 + 20 + 20 + 32, 4},
		{"TCP over IPv6 in IPv4", 0x0800, noSegs, size, []layer{ipv4(41, 0), ipv6(6), tcp}, 14 + 20 + 40 + 32, 4},
		{"TCP in IPIP in VXLAN", 0x0800, noSegs, size, []layer{ipv4(17, 0), udp, vxlan, ethernet(0x0800, 0), ipv4(4, 0), ipv4(6, 0), tcp}, 14 + 20 + 8 + 8 + 14 + 20 + 20 + 32, 4},
		{"SCTP", 0x0800, 3, byFrags, []layer{ipv4(132, 0), sctp}, 14 + 20 + 12, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			data := packet(payload, test.layers...)
			octets := 14 + len(data) + (test.want-1)*test.header
			g.Expect(countOf(t, test.ethertype, data, test.segments, test.size)).
				To(Equal(Tally{Packets: uint64(test.want), Bytes: uint64(octets)}))
		})
	}
}

// Datagrams of a program that makes the tunnel itself: each segment has a tunnel's headers in
// its payload.
func TestCountsDatagramsThatHoldTunnels(t *testing.T) {
	datagram := packet(500, vxlan, ethernet(0x0800, 0), ipv4(6, 0), tcp)
	data := packet(0, ipv4(17, 0), udp, raw(slices.Concat(datagram, datagram, datagram)...))
	want := Tally{Packets: 3, Bytes: uint64(3 * (42 + len(datagram)))}
	NewWithT(t).Expect(countOf(t, 0x0800, data, 3, uint32(len(datagram)))).To(Equal(want))
}

// The header of BIG TCP says how long the super-packet is, and is on no wire.
func TestCountsBigTCP(t *testing.T) {
	want := Tally{Packets: 4, Bytes: 4*(14+40+32) + 1800}
	NewWithT(t).Expect(countOf(t, 0x86dd, packet(1800, jumbo(6), tcp), 0, 500)).To(Equal(want))
}

// countOf runs a frame through virt2phys that is for nobody.
func countOf(t *testing.T, ethertype uint16, data []byte, segments, size uint32) Tally {
	const offsetSegments, offsetSize, contextSize = 164, 176, 192 // in struct __sk_buff
	g := NewWithT(t)
	nettest.Enter(t)
	d, err := Load(Options{Capacity: 1})
	g.Expect(err).NotTo(HaveOccurred())
	defer d.Close()
	context := make([]byte, contextSize)
	binary.NativeEndian.PutUint32(context[offsetSegments:], segments)
	binary.NativeEndian.PutUint32(context[offsetSize:], size)
	frame := nettest.Frame{Destination: [6]byte{2, 0, 0, 0, 0, 9}, EtherType: ethertype, Payload: data}
	_, err = d.objs.Virt2phys.Run(&ebpf.RunOptions{Data: frame.Bytes(), Context: context})
	g.Expect(err).NotTo(HaveOccurred())
	counters, err := d.Counters()
	g.Expect(err).NotTo(HaveOccurred())
	return counters.Drops[DropNotAssigned].Tally
}
