package probe

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// captureWriter writes frames of one interface as pcapng, with times in
// nanoseconds and each frame's direction.
type captureWriter struct {
	ng   *pcapgo.NgWriter
	name string
}

func newCaptureWriter(w io.Writer, name string) (*captureWriter, error) {
	ng, err := pcapgo.NewNgWriterInterface(w,
		pcapgo.NgInterface{Name: name, LinkType: layers.LinkTypeEthernet},
		pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{Application: "vlandemux"}})
	if err != nil {
		return nil, fmt.Errorf("beginning a capture of %s: %w", name, err)
	}
	return &captureWriter{ng: ng, name: name}, nil
}

func (c *captureWriter) write(at time.Time, direction Direction, frame []byte) error {
	flags := pcapgo.NgEpbFlags{Direction: pcapgo.NgEpbFlagDirectionInbound}
	if direction == Out {
		flags.Direction = pcapgo.NgEpbFlagDirectionOutbound
	}
	info := gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(frame), Length: len(frame)}
	if err := c.ng.WritePacketWithOptions(info, frame, pcapgo.NgPacketOptions{Flags: &flags}); err != nil {
		return fmt.Errorf("writing a frame of the capture of %s: %w", c.name, err)
	}
	return nil
}

func (c *captureWriter) flush() error {
	if err := c.ng.Flush(); err != nil {
		return fmt.Errorf("writing the capture of %s: %w", c.name, err)
	}
	return nil
}

// MergedCapture is what several taps saw, in one capture file.
type MergedCapture struct {
	taps    []*TapCapture
	packets []mergedPacket
}

// TapCapture is one tap's part of it.
type TapCapture struct {
	merged  *MergedCapture
	name    string
	index   int
	kept    int
	leftOut int
}

type mergedPacket struct {
	tap     int
	seen    Sighting
	data    []byte
	comment string
}

// NewMergedCapture is an empty one.
func NewMergedCapture() *MergedCapture { return &MergedCapture{} }

// Tap adds a tap.
func (m *MergedCapture) Tap(name string) *TapCapture {
	t := &TapCapture{merged: m, name: name, index: len(m.taps)}
	m.taps = append(m.taps, t)
	return t
}

// Add adds a frame that the tap saw; the comment is optional.
func (t *TapCapture) Add(seen Sighting, data []byte, comment string) {
	t.kept++
	t.merged.packets = append(t.merged.packets, mergedPacket{t.index, seen, data, comment})
}

// LeaveOut counts a frame that the tap saw and whose octets are not known any more.
func (t *TapCapture) LeaveOut() { t.leftOut++ }

// Write writes them as pcapng in the order of time. Each tap is an interface of its own, whose comment says how many of its frames are left out.
func (m *MergedCapture) Write(w io.Writer) error {
	if len(m.taps) == 0 {
		return nil
	}
	describe := func(t *TapCapture) pcapgo.NgInterface {
		text := fmt.Sprintf("all %d frames", t.kept)
		if t.leftOut > 0 {
			text = fmt.Sprintf("%d of %d frames: the first, and all wrong ones; %d are left out", t.kept, t.kept+t.leftOut, t.leftOut)
		}
		return pcapgo.NgInterface{Name: t.name, Description: text, Comment: text, LinkType: layers.LinkTypeEthernet, TimestampResolution: 9}
	}
	ng, err := pcapgo.NewNgWriterInterface(w, describe(m.taps[0]), pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{Application: "vlandemux"}})
	for _, t := range m.taps[1:] {
		if err == nil {
			_, err = ng.AddInterface(describe(t))
		}
	}
	if err != nil {
		return fmt.Errorf("beginning a capture: %w", err)
	}
	slices.SortStableFunc(m.packets, func(x, y mergedPacket) int { return cmp.Compare(x.seen.Time, y.seen.Time) })
	for i := range m.packets {
		p := &m.packets[i]
		flags := pcapgo.NgEpbFlags{Direction: pcapgo.NgEpbFlagDirectionInbound}
		if p.seen.Direction == Out {
			flags.Direction = pcapgo.NgEpbFlagDirectionOutbound
		}
		options := pcapgo.NgPacketOptions{Flags: &flags}
		if p.comment != "" {
			options.Comments = []string{p.comment}
		}
		info := gopacket.CaptureInfo{Timestamp: time.Unix(0, p.seen.Time), CaptureLength: len(p.data), Length: len(p.data), InterfaceIndex: p.tap}
		if err := ng.WritePacketWithOptions(info, p.data, options); err != nil {
			return fmt.Errorf("writing a frame of the capture of %s: %w", m.taps[p.tap].name, err)
		}
	}
	if err := ng.Flush(); err != nil {
		return fmt.Errorf("writing a capture: %w", err)
	}
	return nil
}

// Retag gives a frame other tags, outermost first.
func Retag(frame []byte, tags []Tag) []byte {
	frame = withoutTags(frame)
	if len(frame) < 12 {
		return frame
	}
	tagged := slices.Clone(frame[:12])
	for _, tag := range tags {
		tagged = binary.BigEndian.AppendUint16(tagged, tag.Protocol)
		tagged = binary.BigEndian.AppendUint16(tagged, tag.TCI)
	}
	return append(tagged, frame[12:]...)
}
