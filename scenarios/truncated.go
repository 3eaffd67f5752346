package scenarios

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/vlandemux/vlandemux/harness"
)

// Truncated sends frames of every length from an Ethernet header's up, which end
// within each header that the demux or the kernel reads.
func Truncated() Scenario {
	return Scenario{
		Name:    "truncated",
		Summary: "Frames that end within any header are carried octet by octet, or end where the kernel drops them, and break nothing.",
		Labels:  []string{"truncated"},
		Cases: []Case{{
			Text:     "carries frames of 14 to 80 octets that claim to be longer",
			Topology: rackOf(2),
			Run:      truncated,
		}},
	}
}

// cutFrames are the beginnings of a frame with that EtherType and content, of 14 octets up.
func cutFrames(source, destination harness.MAC, etherType uint16, content []byte) [][]byte {
	var frames [][]byte
	whole := binary.BigEndian.AppendUint16(append(destination[:], source[:]...), etherType)
	whole = append(whole, content...)
	for n := harness.EthernetHeader; n <= len(whole); n++ {
		frames = append(frames, whole[:n:n])
	}
	return frames
}

func truncated(ctx context.Context, r *Run) {
	rng := r.Seed.Rand("truncated")
	octets := func(begin ...byte) []byte { // what follows an EtherType: its first octets, and noise
		for len(begin) < 80-harness.EthernetHeader {
			begin = append(begin, byte(rng.Uint32()))
		}
		return begin
	}
	kinds := []struct {
		name      string
		etherType uint16
		content   []byte
	}{
		{"IPv4 with options", 0x0800, octets(0x4f, 0, 0xff, 0xff)},
		{"IPv6 with extension headers", 0x86dd, octets(0x60, 0, 0, 0, 0xff, 0xff, 0, 64)},
		{"ARP", 0x0806, octets(0, 1, 8, 0, 6, 4, 0, 1)},
		{"an 802.3 length", 0x05dc, octets(0xaa, 0xaa, 3)},
		{"a tag", harness.Dot1Q, octets(0x20, 7, 0x88, 0xb5)},
		{"two tags", harness.Dot1AD, octets(0x20, 7, 0x81, 0, 0, 8, 8, 0)},
	}
	window := r.Introduce(ctx)
	for _, c := range r.Lab.Topology.Clients {
		w := r.WorkerOf(c)
		for _, kind := range kinds {
			r.Send(ctx, window, c.Name, r.raw(fmt.Sprintf("%s from %s", kind.name, c.Name), cutFrames(c.MAC, w.MAC, kind.etherType, kind.content)))
			r.Send(ctx, window, w.Name, r.raw(fmt.Sprintf("%s from %s", kind.name, w.Name), cutFrames(w.MAC, c.MAC, kind.etherType, kind.content)))
		}
	}
	r.Close(ctx, window)
}
