package probe

import (
	"bufio"
	"compress/gzip"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

//go:embed captures
var embedded embed.FS

// Frame is one frame of a capture file.
type Frame struct {
	// File is the file's path; Number counts its frames from 1, as Wireshark does.
	File   string
	Number int
	Time   time.Time
	// Data is the whole frame, tags included.
	Data []byte
}

// isCapture tells whether a file's name is that of a capture: .pcap, .pcapng or .cap,
// compressed by gzip or not.
func isCapture(name string) bool {
	name = strings.TrimSuffix(strings.ToLower(name), ".gz")
	return slices.Contains([]string{".pcap", ".pcapng", ".cap"}, path.Ext(name))
}

// ReadCaptures reads every capture of a folder and its subfolders, in the order of
// their paths, and names the other files, which it skips. The error has one line for
// each file that is unusable or holds a frame that no lab can carry.
func ReadCaptures(folder fs.FS) (frames []Frame, skipped []string, _ error) {
	var errs []error
	files := 0
	err := fs.WalkDir(folder, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("reading a folder of captures: %w", err)
		}
		if entry.IsDir() {
			return nil
		}
		if !isCapture(name) {
			skipped = append(skipped, name)
			return nil
		}
		files++
		file, err := folder.Open(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("reading a capture: %w", err))
			return nil
		}
		defer func() { _ = file.Close() }()
		read, err := ReadCapture(file, name)
		if err == nil {
			err = carriable(read)
		}
		if err != nil {
			errs = append(errs, err)
			return nil
		}
		frames = append(frames, read...)
		return nil
	})
	if err != nil {
		errs = append(errs, err)
	} else if files == 0 {
		errs = append(errs, errors.New("reading a folder of captures: it holds no .pcap, .pcapng or .cap file"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, nil, err
	}
	return frames, skipped, nil
}

// carriable is an error that names the first frame that no lab can carry, nil for none.
func carriable(frames []Frame) error {
	for _, f := range frames {
		if len(f.Data) > MaxFrame {
			return fmt.Errorf("capture %s holds %d octets in packet %d, a lab carries %d: if it was put together from several frames, "+
				"capture it again with the offloads of the interface off", f.File, len(f.Data), f.Number, MaxFrame)
		}
		if n := tagStack(f.Data); n > MaxTags {
			return fmt.Errorf("capture %s holds %d VLAN tags in packet %d, a lab carries %d", f.File, n, f.Number, MaxTags)
		}
	}
	return nil
}

// EmbeddedCaptures is a small set of capture files that belongs to the project:
// one or a few frames of each of many protocols, some of them malformed. They
// were put together from the protocols' specifications, with documentation
// addresses; no device has sent them.
func EmbeddedCaptures() fs.FS {
	folder, err := fs.Sub(embedded, "captures")
	if err != nil {
		panic("the embedded folder's name is no path: " + err.Error())
	}
	return folder
}

// packetReader is what pcapgo's readers have in common.
type packetReader interface {
	ReadPacketData() ([]byte, gopacket.CaptureInfo, error)
}

// ReadCapture reads every frame of a pcap or pcapng file of that name, which gzip may
// have compressed. A file that
// is no capture, is damaged, empty or not Ethernet, or holds frames that are cut
// short, is an error of one line that names file and reason.
func ReadCapture(r io.Reader, name string) ([]Frame, error) {
	refuse := func(format string, args ...any) ([]Frame, error) {
		return nil, fmt.Errorf("capture %s "+format, append([]any{name}, args...)...)
	}
	br := bufio.NewReader(r)
	start, err := br.Peek(4)
	switch {
	case len(start) == 0 && errors.Is(err, io.EOF):
		return refuse("is empty")
	case err != nil && !errors.Is(err, io.EOF):
		return refuse("cannot be read: %w", err)
	case len(start) < 4:
		return refuse("is not a pcap or pcapng file: it has %d octets", len(start))
	}
	if start[0] == gzipID1 && start[1] == gzipID2 {
		plain, err := gzip.NewReader(br)
		if err != nil {
			return refuse("is damaged in its header: %w", noEOF(err))
		}
		br = bufio.NewReader(plain)
		if start, err = br.Peek(4); err != nil {
			return refuse("is damaged or too short, uncompressed: %w", noEOF(err))
		}
	}
	var packets packetReader
	var linkType func(gopacket.CaptureInfo) layers.LinkType
	switch binary.BigEndian.Uint32(start) {
	case 0xa1b2c3d4, 0xd4c3b2a1, 0xa1b23c4d, 0x4d3cb2a1:
		var reader *pcapgo.Reader
		if reader, err = pcapgo.NewReader(br); err == nil {
			packets = reader
			linkType = func(gopacket.CaptureInfo) layers.LinkType { return reader.LinkType() }
		}
	case 0x0a0d0d0a:
		packets, err = pcapgo.NewNgReader(br, pcapgo.NgReaderOptions{WantMixedLinkType: true})
		linkType = ngLinkType
	default:
		return refuse("is not a pcap or pcapng file: it begins with % x", start)
	}
	if err != nil {
		return refuse("is damaged in its header: %w", noEOF(err))
	}
	var frames []Frame
	for number := 1; ; number++ {
		data, info, err := packets.ReadPacketData()
		// A file that ends behind a packet's header is an EOF to pcapgo, as is
		// one that ends behind a packet, but for the length.
		if errors.Is(err, io.EOF) && info.CaptureLength == 0 {
			break
		}
		if err != nil {
			return refuse("is damaged at packet %d: %w", number, noEOF(err))
		}
		if link := linkType(info); link != layers.LinkTypeEthernet {
			return refuse("has link type %d (%s), which is not Ethernet", uint32(link), link)
		}
		if info.CaptureLength < info.Length {
			return refuse("holds %d of the %d octets of packet %d: capture it again with a larger snap length",
				info.CaptureLength, info.Length, number)
		}
		if len(data) < ethernetHeader {
			return refuse("is damaged at packet %d: %d octets are no Ethernet frame", number, len(data))
		}
		frames = append(frames, Frame{File: name, Number: number, Time: info.Timestamp, Data: data})
	}
	if len(frames) == 0 {
		return refuse("holds no packet")
	}
	return frames, nil
}

// The octets that begin a gzip member (RFC 1952, section 2.3.1).
const gzipID1, gzipID2 = 0x1f, 0x8b

// ngLinkType is where pcapgo puts the link type of a packet's own interface.
func ngLinkType(info gopacket.CaptureInfo) layers.LinkType {
	for _, data := range info.AncillaryData {
		if link, ok := data.(layers.LinkType); ok {
			return link
		}
	}
	return layers.LinkTypeNull
}
