package probe

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	. "github.com/onsi/gomega"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/bpf/linux"
	"github.com/vlandemux/vlandemux/bpf/nettest"
)

// Every frame, in order, at either end.
func TestTapsSeeEveryFrameAtFullSpeed(t *testing.T) { seesEveryFrame(t, 1, 300_000) }

// The same with as many taps as a lab opens.
func TestFourteenTapsSeeEveryFrameAtFullSpeed(t *testing.T) { seesEveryFrame(t, 7, 50_000) }

func seesEveryFrame(t *testing.T, pairs, count int) {
	b := newBed(t)
	batch := &Batch{
		Name: "full speed", ID: 7, Count: count, Source: macA(), Destination: macB(),
		Tags: []Tag{{Dot1AD, 0x6064}}, Size: 64, MaxSize: 1514,
	}
	var taps []*Tap
	for range pairs {
		taps = append(taps, b.tap("a", TapOptions{RetainBytes: -1}), b.tap("b", TapOptions{RetainBytes: -1}))
	}
	// A round fits into each ring: readers that other work keeps from the processors are late, and lose nothing.
	const round = 5000
	began := time.Now()
	b.send(batch, func(sent int) {
		if sent%round != 0 {
			return
		}
		for _, tap := range taps {
			b.Eventually(tap.Total).WithTimeout(20 * time.Second).WithPolling(time.Millisecond).Should(BeEquivalentTo(sent))
		}
	})
	took := time.Since(began)
	t.Logf("%d frames sent in %v, %.0f/s", batch.Count, took, float64(batch.Count)/took.Seconds())
	for _, tap := range taps {
		report := b.stop(tap)
		b.Expect(report.Frames).To(BeEquivalentTo(batch.Count))
	}
	sighted := make([]func() (Sighting, bool), len(taps))
	for i, tap := range taps {
		next, stop := pull(tap)
		defer stop()
		sighted[i] = next
	}
	var buf []byte
	for i := range batch.Count {
		buf, _ = batch.Packet(i, buf)
		want := FingerprintOf(buf)
		for j, next := range sighted {
			s, ok := next()
			if !ok || s.Fingerprint != want || int(s.Length) != len(buf) {
				t.Fatalf("tap %d, frame %d: saw %+v, want fingerprint %v and %d octets", j, i, s, want, len(buf))
			}
			if s.TagCount != 1 || s.Tags[0] != batch.Tags[0] || s.Source != macA() || s.Destination != macB() || s.EtherType != DefaultEtherType {
				t.Fatalf("tap %d, frame %d: saw %+v", j, i, s)
			}
			if want := []Direction{Out, In}[j%2]; s.Direction != want {
				t.Fatalf("tap %d, frame %d: direction %v, want %v", j, i, s.Direction, want)
			}
		}
	}
}

// The kernel segments on one way, this package on the other: octet for octet the same.
func TestSegmentsAsTheKernelDoes(t *testing.T) {
	ways := map[string]func(*bed){
		"checksums by the kernel": func(b *bed) { nettest.SegmentInSoftware(b.t, "a") },
		"checksums left to the card": func(b *bed) {
			b.Expect(netlink.LinkSetGSOMaxSize(link(b.WithT, "a"), 900)).To(Succeed())
		},
	}
	for way, prepare := range ways {
		for _, protocol := range []string{UDP, TCP} {
			for _, v6 := range []bool{false, true} {
				for tags := range 3 {
					t.Run(fmt.Sprintf("%s/%s/v6=%v/%d tags", way, protocol, v6, tags), func(t *testing.T) {
						if protocol == UDP {
							linux.PacketUDPSuper.Need(t)
						}
						b := newBed(t)
						batch := &Batch{
							Name: "super", ID: 9, Count: 20, Source: macA(), Destination: macB(), Flow: flow(protocol, v6),
							Tags: []Tag{{Dot1AD, 5}, {Dot1Q, 0xe006}}[:tags], GSO: &GSO{SegmentSize: 1333, Segments: 20},
						}
						batch.Flow.Options = 8 * tags
						whole := b.tap("b", TapOptions{})
						b.send(batch)
						report := b.stop(whole)
						b.Expect(report.Read).To(BeEquivalentTo(batch.Count), "the super-packets are to arrive whole")

						prepare(b)
						cut := b.tap("b", TapOptions{})
						b.send(batch)
						report = b.stop(cut)
						b.Expect(report.Read).To(BeEquivalentTo(batch.Count*batch.GSO.Segments), "the kernel is to cut them")

						expectSame(b, kept(whole), kept(cut))
						expectSame(b, kept(whole), wire(batch))
					})
				}
			}
		}
	}
}

// A last segment that is shorter, every TCP flag, options of IPv4 and TCP, and extension headers.
func TestSegmentsOddSuperPacketsAsTheKernelDoes(t *testing.T) {
	for name, odd := range oddSuperPackets() {
		t.Run(name, func(t *testing.T) {
			if odd.hdr.GSOType == VirtioGSOUDPL4 {
				linux.PacketUDPSuper.Need(t)
			}
			b := newBed(t)
			inject := func() {
				message := make([]byte, VirtioNetHeaderLen)
				odd.hdr.Put(message)
				_, err := unix.Write(b.sender(), append(message, odd.packet...))
				b.Expect(err).NotTo(HaveOccurred())
			}
			whole := b.tap("b", TapOptions{})
			inject()
			b.Expect(b.stop(whole).Read).To(BeEquivalentTo(1))
			b.Expect(netlink.LinkSetGSOMaxSize(link(b.WithT, "a"), 900)).To(Succeed())
			cut := b.tap("b", TapOptions{})
			inject()
			b.Expect(b.stop(cut).Read).To(BeNumerically(">", 1))
			expectSame(b, kept(whole), kept(cut))
		})
	}
}

func expectSame(b *bed, got, want [][]byte) {
	b.t.Helper()
	b.Expect(got).To(HaveLen(len(want)))
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			b.t.Fatalf("frame %d:\n% x\nwant\n% x", i, got[i], want[i])
		}
	}
}

func TestPutsTagsBackInPlace(t *testing.T) {
	for _, protocol := range []uint16{Dot1Q, Dot1AD} {
		t.Run(fmt.Sprintf("in the data %#x", protocol), func(t *testing.T) {
			b := newBed(t)
			batch := &Batch{
				Name: "tagged", ID: 1, Count: 3, Source: macA(), Destination: macB(), Size: 100,
				Tags: []Tag{{protocol, 0xb123}, {Dot1Q, 0x0456}, {Dot1AD, 1}, {Dot1Q, 2}, {Dot1Q, 3}, {Dot1AD, 0xffff}, {Dot1Q, 5}, {Dot1AD, 6}},
			}
			out, in := b.tap("a", TapOptions{}), b.tap("b", TapOptions{})
			b.send(batch)
			for _, tap := range []*Tap{out, in} {
				b.stop(tap)
				expectSame(b, kept(tap), wire(batch))
				for s := range sightings(tap) {
					b.Expect(s.Stack()).To(Equal(batch.Tags))
					b.Expect(s.Length).To(BeEquivalentTo(100))
				}
			}
		})
		t.Run(fmt.Sprintf("held by the skb %#x", protocol), func(t *testing.T) {
			b := newBed(t)
			pushTag(b, "a", Tag{protocol, 0xf00d & 0xefff})
			batch := &Batch{Name: "plain", ID: 1, Count: 3, Source: macA(), Destination: macB(), Size: 100, Flow: flow(UDP, false)}
			super := &Batch{
				Name: "super", ID: 2, Count: 2, Source: macA(), Destination: macB(), Flow: flow(TCP, true),
				GSO: &GSO{SegmentSize: 700, Segments: 5},
			}
			out, in := b.tap("a", TapOptions{}), b.tap("b", TapOptions{})
			b.send(batch)
			b.send(super)
			untagged := append(wire(batch), wire(super)...)
			for _, tap := range []*Tap{out, in} {
				b.stop(tap)
				frames := kept(tap)
				b.Expect(frames).To(HaveLen(len(untagged)))
				i := 0
				for s := range sightings(tap) {
					b.Expect(tagIn(frames[i])).To(Equal(Tag{protocol, 0xe00d}))
					b.Expect(s.Stack()).To(Equal([]Tag{{protocol, 0xe00d}}))
					b.Expect(s.Length).To(BeEquivalentTo(len(untagged[i]) + 4))
					b.Expect(s.Fingerprint).To(Equal(FingerprintOf(untagged[i])))
					b.Expect(FingerprintOf(frames[i])).To(Equal(s.Fingerprint))
					i++
				}
			}
		})
	}
}

// pushTag makes a tc program push a tag onto whatever leaves an interface.
func pushTag(b *bed, name string, tag Tag) {
	b.t.Helper()
	swapped := int32(tag.Protocol>>8 | tag.Protocol<<8)
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{
			asm.Mov.Imm(asm.R2, swapped), // __be16, on a little-endian machine
			asm.Mov.Imm(asm.R3, int32(tag.TCI)),
			asm.FnSkbVlanPush.Call(),
			asm.Mov.Imm(asm.R0, 0), // TC_ACT_OK
			asm.Return(),
		},
	})
	b.Expect(err).NotTo(HaveOccurred())
	b.t.Cleanup(func() { _ = program.Close() })
	index := link(b.WithT, name).Attrs().Index
	b.Expect(netlink.QdiscAdd(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}})).To(Succeed())
	b.Expect(netlink.FilterAdd(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: index, Parent: netlink.HANDLE_MIN_EGRESS, Handle: 1, Priority: 1, Protocol: unix.ETH_P_ALL},
		Fd:          program.FD(), Name: "push", DirectAction: true,
	})).To(Succeed())
}

// Frames sent with a checksum for the card to finish are seen finished.
func TestFinishesChecksums(t *testing.T) {
	b := newBed(t)
	batch := &Batch{Name: "plain", ID: 3, Count: 1, Source: macA(), Destination: macB(), Size: 333, Flow: flow(UDP, false)}
	frame, _ := batch.Packet(0, nil)
	message := make([]byte, VirtioNetHeaderLen)
	VirtioNetHeader{Flags: VirtioNeedsChecksum, CsumStart: 34, CsumOffset: 6}.Put(message)
	message = append(message, frame...)
	segment := message[VirtioNetHeaderLen+34:]
	pseudo := pseudoHeader(frame[26:34], protocolUDP, len(segment))
	segment[6], segment[7] = byte(pseudo>>8), byte(pseudo)
	tap := b.tap("b", TapOptions{})
	_, err := unix.Write(b.sender(), message)
	b.Expect(err).NotTo(HaveOccurred())
	b.stop(tap)
	b.Expect(tap.recorder.kept).To(HaveLen(1))
	expectSame(b, kept(tap), [][]byte{frame})
}

// A ring that cannot hold what arrives says so.
func TestTellsOfLostPackets(t *testing.T) {
	b := newBed(t)
	point := TapPoint{Name: "host/b", Interface: "b"}
	rings, err := openRings(point, TapOptions{RingSize: 1})
	b.Expect(err).NotTo(HaveOccurred())
	defer func() { b.Expect(rings.close()).To(Succeed()) }()
	ring := rings.all[0]
	b.send(&Batch{Name: "too much", ID: 1, Count: 2000, Source: macA(), Destination: macB(), Size: 1514})
	seen := uint64(0)
	b.Expect(rings.finish(func(*tapped) { seen++ })).To(Succeed())
	b.Expect(ring.packets).To(BeEquivalentTo(2000))
	b.Expect(ring.dropped).To(BeNumerically(">", 0))
	b.Expect(ring.dropped + seen).To(BeEquivalentTo(2000))
	report := TapReport{Point: point, Packets: ring.packets, Read: ring.read, Dropped: ring.dropped}
	b.Expect(report.Err()).To(MatchError(ContainSubstring(fmt.Sprintf("tap host/b lost %d of 2000 packets", ring.dropped))))
}

func TestATapIsOfTheThreadsNamespace(t *testing.T) {
	b := newBed(t)
	opened := make(chan error)
	go func() { // on a thread of another namespace
		_, err := OpenTap(TapPoint{Interface: "b"}, TapOptions{})
		opened <- err
	}()
	b.Expect(<-opened).To(MatchError(ContainSubstring(`finding interface "b"`)), "b is to exist in the test's namespace alone")
	_, err := OpenTap(TapPoint{Name: "host/none", Interface: "none"}, TapOptions{})
	b.Expect(err).To(MatchError(ContainSubstring(`tapping host/none: finding interface "none"`)))
	_, err = OpenTap(TapPoint{Name: "host/lo", Interface: "lo"}, TapOptions{})
	b.Expect(err).To(MatchError(ContainSubstring(`interface "lo" is down`)))
}

// A tap outlives its interface going down and up again, and its removal.
func TestGoesOnWhileTheInterfaceFlaps(t *testing.T) {
	b := newBed(t)
	tap := b.tap("b", TapOptions{})
	batch := &Batch{Name: "few", ID: 1, Count: 10, Source: macA(), Destination: macB(), Size: 60}
	b.send(batch)
	b.Expect(netlink.LinkSetDown(link(b.WithT, "b"))).To(Succeed())
	b.Expect(netlink.LinkSetUp(link(b.WithT, "b"))).To(Succeed())
	awaitOperational(b.WithT)
	b.send(batch)
	b.Eventually(tap.Total).Should(BeEquivalentTo(20))
	b.Expect(netlink.LinkDel(link(b.WithT, "b"))).To(Succeed())
	report := b.stop(tap)
	b.Expect(report.Frames).To(BeEquivalentTo(20))
	b.Expect(report.Down).To(BeNumerically(">=", 1))
}

// What the socket has when Stop is called is seen, however short the time.
func TestStopMissesNothing(t *testing.T) {
	b := newBed(t)
	for range 20 {
		tap := b.tap("b", TapOptions{RingSize: 1 << 20})
		b.send(&Batch{Name: "few", ID: 1, Count: 7, Source: macA(), Destination: macB(), Size: 60})
		b.Expect(b.stop(tap).Frames).To(BeEquivalentTo(7))
	}
}

// BenchmarkTap is what the reader of a tap does with a frame: the most frames a
// second that it can keep up with.
func BenchmarkTap(b *testing.B) {
	for _, size := range []int{60, 1514} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			frame, _ := (&Batch{Count: 1, Size: size, Flow: flow(UDP, false)}).Packet(0, nil)
			p := tapped{data: frame, length: len(frame), tagged: true, outer: Tag{Dot1Q, 5}, direction: In}
			r := newRecorder(-1)
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				if r.add(&p); len(r.sightings.chunks) > 100 {
					r.sightings.chunks = nil
				}
			}
		})
	}
}
