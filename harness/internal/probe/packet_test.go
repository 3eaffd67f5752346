package probe

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	. "github.com/onsi/gomega"
)

// Each shape of batch, as other code decodes it: headers, lengths, checksums, IDs.
func TestPacketsAreWhatTheBatchSays(t *testing.T) {
	tags := []Tag{{Dot1AD, 0x3064}, {Dot1Q, 0x0005}}
	for _, protocol := range []string{"", UDP, TCP} {
		for _, v6 := range []bool{false, true} {
			for n := range 3 {
				t.Run(fmt.Sprintf("%s/v6=%v/%d tags", protocol, v6, n), func(t *testing.T) {
					g := NewWithT(t)
					b := &Batch{
						Name: "shape", ID: 0xfeedface, Count: 1500, Source: macA(), Destination: macB(),
						Tags: tags[:n], Size: 110, MaxSize: 1514,
					}
					if protocol != "" {
						b.Flow = flow(protocol, v6)
						b.Flow.Options = 8 * n
					}
					g.Expect(b.Validate()).To(Succeed())
					sizes := map[int]int{}
					var buf []byte
					for i := range b.Count {
						frame, hdr := b.Packet(i, buf)
						buf = frame
						g.Expect(hdr).To(BeZero())
						sizes[len(frame)]++
						g.Expect(idIn(b, frame)).To(Equal(uint64(0xfeedface)<<32 | uint64(i)))
						if i < 200 {
							checkFrame(g, b, frame)
						}
					}
					g.Expect(sizes).To(HaveLen(1514-110+1), "sizes are to cover the range")
				})
			}
		}
	}
}

// idIn is the ID that a frame of the batch carries behind its headers.
func idIn(b *Batch, frame []byte) uint64 {
	payload := frame[b.headerLen():]
	if binary.BigEndian.Uint32(payload) != magic {
		return 0
	}
	return binary.BigEndian.Uint64(payload[4:])
}

func checkFrame(g *WithT, b *Batch, frame []byte) {
	g.Expect(MAC(frame[:6])).To(Equal(b.Destination))
	g.Expect(MAC(frame[6:12])).To(Equal(b.Source))
	for i, tag := range b.Tags {
		g.Expect(tagIn(frame[4*i:])).To(Equal(tag))
	}
	plain := append(append([]byte{}, frame[:12]...), frame[12+4*len(b.Tags):]...)
	if b.Flow == nil {
		g.Expect(binary.BigEndian.Uint16(plain[12:])).To(Equal(DefaultEtherType))
		return
	}
	packet := gopacket.NewPacket(plain, layers.LayerTypeEthernet, gopacket.Default)
	g.Expect(packet.ErrorLayer()).To(BeNil())
	g.Expect(packet.Metadata().Truncated).To(BeFalse())
	transportLayer := packet.TransportLayer().(interface {
		SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
	})
	g.Expect(transportLayer.SetNetworkLayerForChecksum(packet.NetworkLayer())).To(Succeed())
	err, mismatches := packet.VerifyChecksums()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(mismatches).To(BeEmpty())
	network, transport := packet.NetworkLayer().NetworkFlow(), packet.TransportLayer().TransportFlow()
	g.Expect(network.Src().String()).To(Equal(b.Flow.Source.Addr().String()))
	g.Expect(network.Dst().String()).To(Equal(b.Flow.Destination.Addr().String()))
	g.Expect(transport.Src().String()).To(Equal(fmt.Sprint(b.Flow.Source.Port())))
	g.Expect(transport.Dst().String()).To(Equal(fmt.Sprint(b.Flow.Destination.Port())))
	if ip, ok := packet.NetworkLayer().(*layers.IPv4); ok {
		g.Expect(int(ip.Length)).To(Equal(len(plain) - ethernetHeader))
	}
}

func TestSuperPacketsStandForTheirFrames(t *testing.T) {
	for _, protocol := range []string{UDP, TCP} {
		for _, v6 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/v6=%v", protocol, v6), func(t *testing.T) {
				g := NewWithT(t)
				b := &Batch{
					ID: 3, Count: 4, Source: macA(), Destination: macB(), Tags: []Tag{{Dot1Q, 5}},
					Flow: flow(protocol, v6), GSO: &GSO{SegmentSize: 1448, Segments: 44},
				}
				b.Flow.Options = 40
				g.Expect(b.Validate()).To(Succeed())
				n := 0
				for _, frame := range wire(b) {
					g.Expect(idIn(b, frame)).To(Equal(b.FrameID(n)))
					g.Expect(frame).To(HaveLen(b.headerLen() + 1448))
					checkFrame(g, b, frame)
					n++
				}
				g.Expect(n).To(Equal(176))
			})
		}
	}
}

func TestPacketDoesNotAllocate(t *testing.T) {
	b := &Batch{Count: 1000, Size: 60, MaxSize: 1514, Flow: flow(UDP, false)}
	buf, i := make([]byte, 0, 2048), 0
	NewWithT(t).Expect(testing.AllocsPerRun(500, func() { b.Packet(i, buf); i++ })).To(BeZero())
}

func TestValidateNamesEveryMistake(t *testing.T) {
	good := Batch{Name: "b", Count: 1, Size: 60}
	with := func(change func(*Batch)) *Batch {
		b := good
		change(&b)
		return &b
	}
	flowTo := func(protocol, destination string) *Flow {
		return &Flow{Protocol: protocol, Source: netip.MustParseAddrPort("10.0.0.1:1"), Destination: netip.MustParseAddrPort(destination)}
	}
	gso := func(size, segments int) *Batch {
		return &Batch{Name: "b", Count: 1, Flow: flowTo(UDP, "10.0.0.2:2"), GSO: &GSO{size, segments}}
	}
	for want, b := range map[string]*Batch{
		"the count is 0, want at least 1":        with(func(b *Batch) { b.Count = 0 }),
		"the size is 59 octets, the least is 60": with(func(b *Batch) { b.Size = 59 }),
		"the size is 65 octets, the least is 66 (54 of headers, 12 of frame ID)": with(func(b *Batch) {
			b.Size, b.Flow = 65, flowTo(TCP, "10.0.0.2:2")
		}),
		"sizes 9019 to 0 octets, the most with 1 tags is 9018": with(func(b *Batch) {
			b.Size, b.Tags = 9019, []Tag{{Dot1Q, 1}}
		}),
		"the largest size 59 is below the size 60":                with(func(b *Batch) { b.MaxSize = 59 }),
		"tag protocol 0x9100, want 0x8100 or 0x88a8":              with(func(b *Batch) { b.Tags = []Tag{{0x9100, 1}} }),
		"9 tags, the most is 8":                                   with(func(b *Batch) { b.Tags = make([]Tag, 9) }),
		"EtherType 0x8100 begins a VLAN tag: put it into Tags":    with(func(b *Batch) { b.EtherType = Dot1Q }),
		"the rate is -1, want 0 (full speed) or packets a second": with(func(b *Batch) { b.Rate = -1 }),
		`flow protocol "sctp", want "udp" or "tcp"`:               with(func(b *Batch) { b.Flow = flowTo("sctp", "10.0.0.2:2") }),
		"12 octets of options, want a multiple of 8 up to 40": with(func(b *Batch) {
			b.Flow = flowTo(UDP, "10.0.0.2:2")
			b.Flow.Options = 12
		}),
		"the flow needs a source and a destination address":   with(func(b *Batch) { b.Flow = &Flow{Protocol: UDP} }),
		"flow 10.0.0.1 to ::1 mixes IPv4 and IPv6":            with(func(b *Batch) { b.Flow = flowTo(UDP, "[::1]:2") }),
		"write IPv4 addresses as such, not within IPv6":       with(func(b *Batch) { b.Flow = flowTo(UDP, "[::ffff:10.0.0.2]:2") }),
		"GSO needs a flow: only UDP and TCP can be segmented": with(func(b *Batch) { b.GSO = &GSO{100, 2} }),
		"GSO decides the size of a packet: leave Size and MaxSize at 0": with(func(b *Batch) {
			b.Flow, b.GSO = flowTo(UDP, "10.0.0.2:2"), &GSO{100, 2}
		}),
		"1 segments, want at least 2":                                                       gso(100, 1),
		"segments of 11 octets, the frame ID alone takes 12":                                gso(11, 2),
		"66 segments of 1000 octets make a super-packet of 66042 octets, the most is 65535": gso(1000, 66),
		"each segment is a frame of 9042 octets, the most with 0 tags is 9014":              gso(9000, 2),
		"raw frame 1 has 13 octets, an Ethernet header alone takes 14": {
			Name: "b", Raw: [][]byte{make([]byte, 14), make([]byte, 13)},
		},
		"the count is 0, want at least 1\nbatch \"b\": the size is 0 octets, the least is 60": {Name: "b"},
	} {
		NewWithT(t).Expect(b.Validate()).To(MatchError(And(HavePrefix(`batch "b": `), ContainSubstring(want))))
	}
	NewWithT(t).Expect(good.Validate()).To(Succeed())
}

func BenchmarkPacket(b *testing.B) {
	for _, size := range []int{60, 1514} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			batch := &Batch{Count: 1 << 30, Size: size, Flow: flow(UDP, false)}
			buf := make([]byte, 0, 2048)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				batch.Packet(i, buf)
			}
		})
	}
}
