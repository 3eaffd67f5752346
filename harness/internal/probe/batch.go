package probe

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

// MAC is a 48-bit hardware address.
type MAC = demux.MAC

// The EtherTypes of the two VLAN tags.
const (
	Dot1Q  uint16 = 0x8100 // IEEE 802.1Q, customer tag
	Dot1AD uint16 = 0x88a8 // IEEE 802.1ad, service tag
)

// DefaultEtherType is IEEE local experimental EtherType 1, which no stack answers.
const DefaultEtherType uint16 = 0x88b5

// Limits of what a batch can hold.
const (
	MinFrame  = 60   // the shortest Ethernet frame, without FCS
	MaxFrame  = 9014 // a 9000-octet MTU behind an untagged Ethernet header
	MaxTags   = 8    // tags in the data of a batch's frames
	MaxPacket = 65535
)

// Tag is a VLAN tag.
type Tag struct {
	// Protocol is the tag's EtherType, [Dot1Q] or [Dot1AD].
	Protocol uint16 `json:"protocol"`
	// TCI holds PCP (3 bits), DEI (1 bit) and VID (12 bits).
	TCI uint16 `json:"tci"`
}

// VID is the VLAN identifier, 0 to 4095.
func (t Tag) VID() uint16 { return t.TCI & 0x0fff }

// PCP is the priority code point, 0 to 7.
func (t Tag) PCP() uint8 { return uint8(t.TCI >> 13) }

// DEI tells whether the frame may be dropped first.
func (t Tag) DEI() bool { return t.TCI&0x1000 != 0 }

// String gives protocol and TCI, such as "802.1Q vid 7 pcp 3 dei".
func (t Tag) String() string {
	text := fmt.Sprintf("%s vid %d", demux.ProtocolName(t.Protocol), t.VID())
	if t.PCP() != 0 {
		text += fmt.Sprintf(" pcp %d", t.PCP())
	}
	if t.DEI() {
		text += " dei"
	}
	return text
}

// The protocols of a [Flow].
const (
	UDP = "udp"
	TCP = "tcp"
)

// Flow puts a batch's payload behind IP and UDP or TCP headers. Both addresses
// are of one family, which decides between IPv4 and IPv6.
type Flow struct {
	Protocol    string         `json:"protocol"` // [UDP] or [TCP]
	Source      netip.AddrPort `json:"source"`
	Destination netip.AddrPort `json:"destination"`
	// Options is the octets of options between the IP header and the transport: of IPv4
	// options, or of extension headers, a hop-by-hop one first and then such for the
	// destination. A multiple of 8, at most 40. None of them asks anything of anybody.
	// Optional.
	Options int `json:"options,omitempty"`
}

// GSO makes each packet of a batch a super-packet, which the kernel or a network
// card cuts into Segments frames.
type GSO struct {
	// SegmentSize is the payload of each segment in octets.
	SegmentSize int `json:"segment_size"`
	// Segments is the number of frames a super-packet stands for, at least 2.
	Segments int `json:"segments"`
}

// Batch is a deterministic series of packets: the same batch gives the same
// octets on every machine. It is plain data and must not change while in use;
// its methods are safe for concurrent use.
type Batch struct {
	// Name appears in reports.
	Name string `json:"name"`
	// ID is unique in a lab. The wire frame with index j, counted from 0 over the
	// batch, has the frame ID uint64(ID)<<32 | j.
	ID uint32 `json:"id"`
	// Count is the number of packets; a super-packet counts once.
	Count int `json:"count"`
	// Source and Destination are taken as they are; nothing is resolved.
	Source      MAC `json:"source"`
	Destination MAC `json:"destination"`
	// Tags are in the data, outermost first. Optional.
	Tags []Tag `json:"tags,omitempty"`
	// EtherType of the payload. Optional: [DefaultEtherType]. Ignored with Flow.
	EtherType uint16 `json:"ether_type,omitempty"`
	// Size of each frame in octets, Tags included. Zero with GSO, which decides it.
	Size int `json:"size,omitempty"`
	// MaxSize above Size makes sizes cycle over Size to MaxSize, from one that the ID decides. Optional.
	MaxSize int `json:"max_size,omitempty"`
	// Flow puts the payload into UDP or TCP. Optional.
	Flow *Flow `json:"flow,omitempty"`
	// GSO makes super-packets of them; needs Flow. Optional.
	GSO *GSO `json:"gso,omitempty"`
	// Rate in packets a second. Optional: full speed.
	Rate int `json:"rate,omitempty"`
	// Raw frames are sent as they are and in this order, instead of all the above
	// but Name, ID and Rate. They carry no frame ID. Optional.
	Raw [][]byte `json:"raw,omitempty"`
}

// Packets is how many packets are handed to the kernel.
func (b *Batch) Packets() int {
	if len(b.Raw) > 0 {
		return len(b.Raw)
	}
	return b.Count
}

// Tagged is the batch with other tags, in frames that have room for them.
func (b Batch) Tagged(tags ...Tag) Batch {
	b.Tags, b.Size = tags, max(b.Size, MinFrame+4*len(tags))
	return b
}

// Paced is the batch at another rate, in frames a second.
func (b Batch) Paced(rate int) Batch {
	b.Rate = rate
	return b
}

// FrameID is the ID of the batch's wire frame with index j.
func (b *Batch) FrameID(j int) uint64 { return uint64(b.ID)<<32 | uint64(uint32(j)) }

// Validate names every mistake in the batch in one error.
func (b *Batch) Validate() error {
	var mistakes []error
	wrong := func(format string, args ...any) {
		mistakes = append(mistakes, fmt.Errorf("batch %q: "+format, append([]any{b.Name}, args...)...))
	}
	if b.Rate < 0 {
		wrong("the rate is %d, want 0 (full speed) or packets a second", b.Rate)
	}
	if len(b.Raw) > 0 {
		for i, frame := range b.Raw {
			if len(frame) < ethernetHeader {
				wrong("raw frame %d has %d octets, an Ethernet header alone takes %d", i, len(frame), ethernetHeader)
			}
			if n := tagStack(frame); n > MaxTags {
				wrong("raw frame %d has %d tags, the most is %d", i, n, MaxTags)
			}
			if len(frame) > MaxPacket {
				wrong("raw frame %d has %d octets, the most is %d", i, len(frame), MaxPacket)
			}
		}
		return errors.Join(mistakes...)
	}
	if b.Count < 1 {
		wrong("the count is %d, want at least 1", b.Count)
	}
	if len(b.Tags) > MaxTags {
		wrong("%d tags, the most is %d", len(b.Tags), MaxTags)
	}
	for _, tag := range b.Tags {
		if tag.Protocol != Dot1Q && tag.Protocol != Dot1AD {
			wrong("tag protocol %#04x, want 0x8100 or 0x88a8", tag.Protocol)
		}
	}
	if b.Flow != nil {
		b.Flow.validate(wrong)
	} else if b.EtherType == Dot1Q || b.EtherType == Dot1AD {
		wrong("EtherType %#04x begins a VLAN tag: put it into Tags", b.EtherType)
	}
	if b.GSO != nil {
		b.validateGSO(wrong)
	} else {
		b.validateSize(wrong)
	}
	return errors.Join(mistakes...)
}

func (f *Flow) validate(wrong func(string, ...any)) {
	if f.Protocol != UDP && f.Protocol != TCP {
		wrong("flow protocol %q, want %q or %q", f.Protocol, UDP, TCP)
	}
	if f.Options < 0 || f.Options > maxOptions || f.Options%optionsUnit != 0 {
		wrong("%d octets of options, want a multiple of %d up to %d", f.Options, optionsUnit, maxOptions)
	}
	src, dst := f.Source.Addr(), f.Destination.Addr()
	switch {
	case !src.IsValid() || !dst.IsValid():
		wrong("the flow needs a source and a destination address")
	case src.Is4In6() || dst.Is4In6():
		wrong("flow %s to %s: write IPv4 addresses as such, not within IPv6", src, dst)
	case src.Is4() != dst.Is4():
		wrong("flow %s to %s mixes IPv4 and IPv6", src, dst)
	}
}

func (b *Batch) validateSize(wrong func(string, ...any)) {
	least := max(MinFrame, b.headerLen()+minPayload)
	most := MaxFrame + tagLen*len(b.Tags)
	if b.Size < least {
		wrong("the size is %d octets, the least is %d (%d of headers, %d of frame ID)",
			b.Size, least, b.headerLen(), minPayload)
	}
	if b.Size > most || b.MaxSize > most {
		wrong("sizes %d to %d octets, the most with %d tags is %d", b.Size, b.MaxSize, len(b.Tags), most)
	}
	if b.MaxSize != 0 && b.MaxSize < b.Size {
		wrong("the largest size %d is below the size %d", b.MaxSize, b.Size)
	}
}

func (b *Batch) validateGSO(wrong func(string, ...any)) {
	if b.Flow == nil {
		wrong("GSO needs a flow: only UDP and TCP can be segmented")
		return
	}
	if b.Size != 0 || b.MaxSize != 0 {
		wrong("GSO decides the size of a packet: leave Size and MaxSize at 0")
	}
	if b.GSO.Segments < 2 {
		wrong("%d segments, want at least 2", b.GSO.Segments)
	}
	if b.GSO.SegmentSize < minPayload {
		wrong("segments of %d octets, the frame ID alone takes %d", b.GSO.SegmentSize, minPayload)
	}
	frame := b.headerLen() + b.GSO.SegmentSize
	if most := MaxFrame + tagLen*len(b.Tags); frame > most {
		wrong("each segment is a frame of %d octets, the most with %d tags is %d", frame, len(b.Tags), most)
	}
	if packet := b.headerLen() + b.GSO.SegmentSize*b.GSO.Segments; packet > MaxPacket {
		wrong("%d segments of %d octets make a super-packet of %d octets, the most is %d",
			b.GSO.Segments, b.GSO.SegmentSize, packet, MaxPacket)
	}
}

// VLAN is what an access port is configured with.
type VLAN struct {
	// Protocol of its tag, [Dot1Q] or [Dot1AD].
	Protocol uint16 `json:"protocol"`
	VID      uint16 `json:"vid"` // 1 to 4094
}

// String gives "802.1Q 7" or "802.1ad 7".
func (v VLAN) String() string {
	return fmt.Sprintf("%s %d", demux.ProtocolName(v.Protocol), v.VID)
}

// Tag is that of its frames with a PCP, 0 to 7.
func (v VLAN) Tag(pcp uint16) Tag { return Tag{Protocol: v.Protocol, TCI: pcp<<13 | v.VID} }

// Validate tells what is wrong with the VLAN.
func (v VLAN) Validate() error {
	if v.VID < 1 || v.VID > 4094 {
		return fmt.Errorf("VLAN %d is not within 1 to 4094", v.VID)
	}
	if v.Protocol != Dot1Q && v.Protocol != Dot1AD {
		return fmt.Errorf("VLAN protocol %#04x is neither 802.1Q (0x8100) nor 802.1ad (0x88a8)", v.Protocol)
	}
	return nil
}
