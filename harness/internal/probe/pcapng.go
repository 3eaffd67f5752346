package probe

import (
	"fmt"
	"io"
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
