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

// MergedCapture is what several taps saw, in one capture file. The zero value is empty.
type MergedCapture struct {
	taps    []mergedTap
	packets []mergedPacket
}

// mergedTap is one tap's part of it.
type mergedTap struct {
	name          string
	kept, leftOut int
}

type mergedPacket struct {
	Step
	data    []byte
	comment string
}

// AddTap adds a tap: the first is 0 in steps.
func (m *MergedCapture) AddTap(name string) { m.taps = append(m.taps, mergedTap{name: name}) }

// Add adds a frame that a tap saw, whose octets are those of data, but for its tags. Without data it is counted as left out. The comment is optional.
func (m *MergedCapture) Add(seen *Step, data []byte, comment string) {
	tap := &m.taps[seen.Tap]
	if len(data) == 0 {
		tap.leftOut++
		return
	}
	tap.kept++
	m.packets = append(m.packets, mergedPacket{*seen, retag(data, seen.Stack()), comment})
}

// Write writes them as pcapng in the order of time. Each tap is an interface of its own, whose comment says how many of its frames are left out.
func (m *MergedCapture) Write(w io.Writer) error {
	if len(m.taps) == 0 {
		return nil
	}
	describe := func(t mergedTap) pcapgo.NgInterface {
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
	slices.SortStableFunc(m.packets, func(x, y mergedPacket) int { return cmp.Compare(x.Time, y.Time) })
	for i := range m.packets {
		p := &m.packets[i]
		flags := pcapgo.NgEpbFlags{Direction: pcapgo.NgEpbFlagDirectionInbound}
		if p.Direction == Out {
			flags.Direction = pcapgo.NgEpbFlagDirectionOutbound
		}
		options := pcapgo.NgPacketOptions{Flags: &flags}
		if p.comment != "" {
			options.Comments = []string{p.comment}
		}
		info := gopacket.CaptureInfo{Timestamp: time.Unix(0, p.Time), CaptureLength: len(p.data), Length: len(p.data), InterfaceIndex: p.Tap}
		if err := ng.WritePacketWithOptions(info, p.data, options); err != nil {
			return fmt.Errorf("writing a frame of the capture of %s: %w", m.taps[p.Tap].name, err)
		}
	}
	if err := ng.Flush(); err != nil {
		return fmt.Errorf("writing a capture: %w", err)
	}
	return nil
}

// retag gives a frame other tags, outermost first.
func retag(frame []byte, tags []Tag) []byte {
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
