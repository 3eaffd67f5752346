package probe

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	. "github.com/onsi/gomega"
)

// pcap is a classic capture file of any byte order and time unit.
func pcap(order binary.AppendByteOrder, magic, link uint32, lengths uint32, frames ...[]byte) []byte {
	b := order.AppendUint32(nil, magic)
	b = order.AppendUint16(b, 2)
	b = order.AppendUint16(b, 4)
	for _, word := range []uint32{0, 0, 65535, link} {
		b = order.AppendUint32(b, word)
	}
	for _, frame := range frames {
		for _, word := range []uint32{1764000000, 123456, uint32(len(frame)), uint32(len(frame)) + lengths} {
			b = order.AppendUint32(b, word)
		}
		b = append(b, frame...)
	}
	return b
}

func TestReadsPcapOfEitherByteOrderAndTimeUnit(t *testing.T) {
	frames := wire(&Batch{Count: 3, Size: 60, MaxSize: 1514})
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		for magic, nanoseconds := range map[uint32]int64{0xa1b2c3d4: 123456000, 0xa1b23c4d: 123456} {
			g := NewWithT(t)
			read, err := ReadCapture(bytes.NewReader(pcap(order, magic, 1, 0, frames...)), "x.pcap")
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(read).To(HaveLen(3))
			for i, frame := range read {
				g.Expect(frame.Data).To(Equal(frames[i]))
				g.Expect(frame.Number).To(Equal(i + 1))
				g.Expect(frame.File).To(Equal("x.pcap"))
				g.Expect(frame.Time.Equal(time.Unix(1764000000, nanoseconds))).To(BeTrue())
			}
		}
	}
}

func TestRefusesUnusableCapturesInOneLine(t *testing.T) {
	frame := make([]byte, 60)
	good := pcap(binary.LittleEndian, 0xa1b2c3d4, 1, 0, frame, frame)
	with := func(at int, value byte) []byte {
		changed := bytes.Clone(good)
		changed[at] = value
		return changed
	}
	for want, content := range map[string][]byte{
		"is empty": {},
		"is not a pcap or pcapng file: it has 3 octets":            []byte("abc"),
		"is damaged in its header: unexpected EOF ":                {0x1f, 0x8b, 8, 0, 0},
		"is damaged or too short, uncompressed: unexpected EOF":    zipped([]byte("abc")),
		"is not a pcap or pcapng file: it begins with 77 6f 72 73": zipped([]byte("worse")),
		"is damaged in its header: unexpected EOF":                 good[:20],
		"holds no packet":                                                                     good[:24],
		"is damaged at packet 1: unexpected EOF":                                              good[:24+16],
		"is damaged at packet 2: unexpected EOF":                                              good[:len(good)-1],
		"has link type 113 (Linux SLL), which is not Ethernet":                                pcap(binary.BigEndian, 0xa1b2c3d4, 113, 0, frame),
		"holds 60 of the 1514 octets of packet 1: capture it again with a larger snap length": pcap(binary.BigEndian, 0xa1b2c3d4, 1, 1454, frame),
		"is damaged at packet 2: 13 octets are no Ethernet frame":                             pcap(binary.BigEndian, 0xa1b2c3d4, 1, 0, frame, frame[:13]),
		"is damaged at packet 1: capture length exceeds snap length: 2147483708 > 65535":      with(24+11, 0x80),
		"is damaged in its header: Unknown major version 9":                                   with(4, 9),
	} {
		g := NewWithT(t)
		_, err := ReadCapture(bytes.NewReader(content), "file.pcap")
		g.Expect(err).To(MatchError("capture file.pcap " + strings.TrimSpace(want)))
	}
}

// Wherever a capture is cut, that is noticed, unless between two packets.
func TestNoticesEveryCut(t *testing.T) {
	for _, name := range []string{"arp.pcap", "ipv6_nd_ns.pcap", "short.pcapng"} {
		g := NewWithT(t)
		content, err := fs.ReadFile(EmbeddedCaptures(), name)
		g.Expect(err).NotTo(HaveOccurred())
		whole, err := ReadCapture(bytes.NewReader(content), name)
		g.Expect(err).NotTo(HaveOccurred())
		clean := 0
		for n := range content {
			frames, err := ReadCapture(bytes.NewReader(content[:n]), name)
			if err == nil {
				clean++
				g.Expect(len(frames)).To(BeNumerically("<", len(whole)))
			} else {
				g.Expect(err.Error()).To(HavePrefix("capture " + name + " "))
				g.Expect(err.Error()).NotTo(ContainSubstring("\n"))
			}
		}
		g.Expect(clean).To(Equal(len(whole)-1), "%s: cuts between two packets", name)
	}
}

func TestReadsAFolderInOrderAndNamesEachBadFile(t *testing.T) {
	g := NewWithT(t)
	frame := func(i byte) []byte { return bytes.Repeat([]byte{i}, 60) }
	file := func(i byte) *fstest.MapFile {
		return &fstest.MapFile{Data: pcap(binary.BigEndian, 0xa1b2c3d4, 1, 0, frame(i))}
	}
	folder := fstest.MapFS{
		"b.pcap": file(2), "a.PCAP": file(1), "c/d.pcapng": file(3), "e.cap": file(4), "f.pcap.gz": {Data: zipped(file(5).Data)}, "README.md": {Data: []byte("text")},
	}
	frames, skipped, err := ReadCaptures(folder)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(skipped).To(Equal([]string{"README.md"}))
	var order strings.Builder
	for _, f := range frames {
		order.WriteString(f.File + " ")
	}
	g.Expect(order.String()).To(Equal("a.PCAP b.pcap c/d.pcapng e.cap f.pcap.gz "))

	folder["bad.pcap"] = &fstest.MapFile{}
	folder["worse.pcapng"] = &fstest.MapFile{Data: []byte("worse")}
	_, _, err = ReadCaptures(folder)
	g.Expect(err).To(MatchError("capture bad.pcap is empty\ncapture worse.pcapng is not a pcap or pcapng file: it begins with 77 6f 72 73"))

	_, _, err = ReadCaptures(fstest.MapFS{"README.md": {}})
	g.Expect(err).To(MatchError(ContainSubstring("it holds no .pcap, .pcapng or .cap file")))
	_, _, err = ReadCaptures(os.DirFS(filepath.Join(t.TempDir(), "none")))
	g.Expect(err).To(MatchError(fs.ErrNotExist))
}

func TestRefusesCapturedFramesThatNoLabCarries(t *testing.T) {
	for want, frame := range map[string][]byte{
		"capture d/x.cap holds 9015 octets in packet 2, a lab carries 9014": make([]byte, MaxFrame+1),
		"capture d/x.cap holds 9 VLAN tags in packet 2, a lab carries 8":    append(append(make([]byte, 12), bytes.Repeat([]byte{0x81, 0, 0, 1}, 9)...), make([]byte, 60)...),
	} {
		g := NewWithT(t)
		_, _, err := ReadCaptures(fstest.MapFS{"d/x.cap": {Data: pcap(binary.BigEndian, 0xa1b2c3d4, 1, 0, make([]byte, MaxFrame), frame)}})
		g.Expect(err).To(MatchError(HavePrefix(want)))
	}
}

func zipped(content []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(content)
	_ = w.Close()
	return b.Bytes()
}

func TestEmbeddedCapturesCanBeSent(t *testing.T) {
	g := NewWithT(t)
	frames, _, err := ReadCaptures(EmbeddedCaptures())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(len(frames)).To(BeNumerically(">", 40))
	b := &Batch{Name: "replay", ID: 1}
	for _, frame := range frames {
		b.Raw = append(b.Raw, frame.Data)
		g.Expect(len(frame.Data)).To(BeNumerically("<=", 1514))
		g.Expect(frame.Data[6:12]).To(Equal([]byte{0x02, 0x00, 0x5e, 0x00, 0x53, 0x01}))
	}
	g.Expect(b.Validate()).To(Succeed())
	g.Expect(b.Packets()).To(Equal(len(frames)))
	g.Expect(wire(b)).To(Equal(b.Raw))
}
