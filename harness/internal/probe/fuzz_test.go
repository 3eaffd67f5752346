package probe

import (
	"bytes"
	"encoding/binary"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// FuzzSegmenter: whatever a socket hands over, frames come out or an error, the
// packet is untouched, and no octet of a super-packet's payload is lost or made up.
func FuzzSegmenter(f *testing.F) {
	seed := func(packet []byte, hdr VirtioNetHeader) {
		header := make([]byte, VirtioNetHeaderLen)
		hdr.Put(header)
		f.Add(header, packet)
	}
	for _, odd := range oddSuperPackets() {
		seed(odd.packet, odd.hdr)
		seed(odd.packet, VirtioNetHeader{Flags: VirtioNeedsChecksum, CsumStart: odd.hdr.CsumStart, CsumOffset: odd.hdr.CsumOffset})
		seed(odd.packet, VirtioNetHeader{Flags: VirtioDataValid, GSOType: odd.hdr.GSOType, GSOSize: 1})
		for n := 10; n < len(odd.packet); n += 7 {
			seed(odd.packet[:min(n, 100)], odd.hdr)
		}
	}
	f.Fuzz(func(t *testing.T, header, packet []byte) {
		if len(header) < VirtioNetHeaderLen || len(packet) > MaxPacket {
			return
		}
		hdr := ParseVirtioNetHeader(header)
		before := bytes.Clone(packet)
		var segmenter Segmenter
		frames, octets := 0, 0
		p := tapped{data: packet, hdr: hdr, length: len(packet), tagged: true, outer: Tag{Dot1Q, 1}}
		err := p.wireFrames(&segmenter, func(frame []byte) bool {
			frames++
			octets += len(frame)
			p.sight(frame)
			p.appendFrame(nil, frame)
			return true
		})
		if !bytes.Equal(packet, before) {
			t.Fatal("the packet was changed")
		}
		if err != nil && frames > 0 {
			t.Fatalf("%d frames and an error: %v", frames, err)
		}
		if err != nil || hdr.GSOType&^VirtioGSOECN == VirtioGSONone {
			return
		}
		sp, err := parseSuperPacket(packet, hdr, hdr.GSOType&^VirtioGSOECN)
		if err != nil {
			t.Fatal(err)
		}
		if want := len(packet) + (frames-1)*sp.payload; octets != want {
			t.Fatalf("%d frames of %d octets together, want %d", frames, octets, want)
		}
	})
}

// FuzzReadCapture: any octets give frames or an error of one line.
func FuzzReadCapture(f *testing.F) {
	names, err := fs.Glob(EmbeddedCaptures(), "*")
	if err != nil || len(names) == 0 {
		f.Fatal(names, err)
	}
	for _, name := range names {
		content, err := fs.ReadFile(EmbeddedCaptures(), name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
		f.Add(content[:len(content)-3])
	}
	f.Add(pcap(binary.BigEndian, 0xa1b23c4d, 1, 0, make([]byte, 60)))
	f.Fuzz(func(t *testing.T, content []byte) {
		frames, err := ReadCapture(bytes.NewReader(content), "x")
		if err != nil && (strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "capture x ")) {
			t.Fatalf("error %q", err)
		}
		if (err == nil) != (len(frames) > 0) {
			t.Fatalf("%d frames and error %v", len(frames), err)
		}
		for _, frame := range frames {
			FingerprintOf(frame.Data)
		}
	})
}

// FuzzReadJourneys: any octets give journeys and perhaps an error.
func FuzzReadJourneys(f *testing.F) {
	f.Add([]byte(journeyMagic))
	f.Add(writeJourneys(NewWithT(f), someTaps(3, 4, rand.New(rand.NewPCG(1, 1)))))
	f.Fuzz(func(t *testing.T, content []byte) {
		n := 0
		for steps, err := range ReadJourneys(bytes.NewReader(content)) {
			if n++; err == nil && len(steps) == 0 {
				t.Fatal("a frame that was seen nowhere is not told of")
			}
		}
		if n > len(content)/11+1 { // of a kind, a length, a fingerprint and a time
			t.Fatalf("%d journeys of %d octets", n, len(content))
		}
	})
}
