package demux

import (
	"encoding/binary"
	"testing"

	"github.com/cilium/ebpf"
	. "github.com/onsi/gomega"
	"github.com/vlandemux/vlandemux/bpf/nettest"
)

// A super-packet from an untrusted source, such as a virtual machine, comes
// without a number of segments (SKB_GSO_DODGY). Where the header cannot be
// told, that number is all there is. Neither can be had from a veth, which
// fills it in, hence a test run.
func TestCountsWithoutTheNumberOfSegments(t *testing.T) {
	const offsetSegments, offsetSize, contextSize = 164, 176, 192 // in struct __sk_buff
	udp := make([]byte, 28+2500)
	udp[0], udp[9] = 0x45, 17
	for _, test := range []struct {
		name           string
		ethertype      uint16
		segments, size uint32
		want           Tally
	}{
		{"unknown", 0x0800, 0, 1000, Tally{Packets: 3, Bytes: 3*42 + 2500}},
		{"wrong", 0x0800, 1, 1000, Tally{Packets: 3, Bytes: 3*42 + 2500}},
		{"no super-packet", 0x0800, 0, 0, Tally{Packets: 1, Bytes: 42 + 2500}},
		{"unknown protocol", 0x88b5, 3, 1000, Tally{Packets: 3, Bytes: 42 + 2500}},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			nettest.Enter(t)
			d, err := Load(Options{Capacity: 1})
			g.Expect(err).NotTo(HaveOccurred())
			defer d.Close()
			context := make([]byte, contextSize)
			binary.NativeEndian.PutUint32(context[offsetSegments:], test.segments)
			binary.NativeEndian.PutUint32(context[offsetSize:], test.size)
			frame := nettest.Frame{Destination: [6]byte{2, 0, 0, 0, 0, 9}, EtherType: test.ethertype, Payload: udp}
			_, err = d.objs.Virt2phys.Run(&ebpf.RunOptions{Data: frame.Bytes(), Context: context})
			g.Expect(err).NotTo(HaveOccurred())
			counters, err := d.Counters()
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(counters.Drops[DropNotAssigned].Tally).To(Equal(test.want))
		})
	}
}
