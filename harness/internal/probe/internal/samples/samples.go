// Package samples makes the project's own set of capture files: one or a few
// frames of each of many protocols, for what a VLAN trunk must carry untouched.
// The files follow from the code alone, octet for octet.
package samples

import (
	"bytes"
	"fmt"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// Files are the contents of each file by its name. Files named .pcapng are
// pcapng, the others pcap with times in microseconds or, with "_ns", nanoseconds.
func Files() (map[string][]byte, error) {
	files := make(map[string][]byte)
	for name, frames := range sets() {
		var buf bytes.Buffer
		write := writePcap
		switch {
		case bytes.HasSuffix([]byte(name), []byte(".pcapng")):
			write = writePcapng
		case bytes.HasSuffix([]byte(name), []byte("_ns.pcap")):
			write = writePcapNanoseconds
		}
		if err := write(&buf, frames); err != nil {
			return nil, fmt.Errorf("making capture %s: %w", name, err)
		}
		files[name] = buf.Bytes()
	}
	return files, nil
}

// packetWriter is what pcapgo's writers have in common.
type packetWriter interface {
	WritePacket(gopacket.CaptureInfo, []byte) error
}

func writePcap(buf *bytes.Buffer, frames [][]byte) error {
	w := pcapgo.NewWriter(buf)
	if err := w.WriteFileHeader(65535, layers.LinkTypeEthernet); err != nil {
		return fmt.Errorf("writing the header: %w", err)
	}
	return writeFrames(w, frames)
}

func writePcapNanoseconds(buf *bytes.Buffer, frames [][]byte) error {
	w := pcapgo.NewWriterNanos(buf)
	if err := w.WriteFileHeader(65535, layers.LinkTypeEthernet); err != nil {
		return fmt.Errorf("writing the header: %w", err)
	}
	return writeFrames(w, frames)
}

func writePcapng(buf *bytes.Buffer, frames [][]byte) error {
	w, err := pcapgo.NewNgWriterInterface(buf,
		pcapgo.NgInterface{Name: "sample", LinkType: layers.LinkTypeEthernet},
		pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{Application: "vlandemux"}})
	if err != nil {
		return fmt.Errorf("writing the header: %w", err)
	}
	if err := writeFrames(w, frames); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("writing the last octets: %w", err)
	}
	return nil
}

func writeFrames(w packetWriter, frames [][]byte) error {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i, frame := range frames {
		info := gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(frame), Length: len(frame)}
		if err := w.WritePacket(info, frame); err != nil {
			return fmt.Errorf("writing packet %d: %w", i+1, err)
		}
		at = at.Add(1234567 * time.Nanosecond)
	}
	return nil
}
