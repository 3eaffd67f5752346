package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	etherTypeIPv4 uint16 = 0x0800
	etherTypeIPv6 uint16 = 0x86dd

	protocolHopByHop    uint8 = 0
	protocolTCP         uint8 = 6
	protocolUDP         uint8 = 17
	protocolDestination uint8 = 60

	padN = 1 // an IPv6 option that is there to fill
)

// tagStack counts the VLAN tags behind the source MAC. Like the kernel, it takes
// a tag only where an EtherType follows it.
func tagStack(frame []byte) int {
	n := 0
	for at := 12; len(frame) >= at+tagLen+2; at += tagLen {
		if p := binary.BigEndian.Uint16(frame[at:]); p != Dot1Q && p != Dot1AD {
			break
		}
		n++
	}
	return n
}

// headers are where the headers of a frame are.
type headers struct {
	etherType uint16
	network   int // offset of what follows the EtherType
	transport int // offset of what follows IP; 0 if the frame is not whole IPv4 or IPv6
	protocol  uint8
	fragment  bool
}

var errNoEthernet = errors.New("too short for an Ethernet header")

func parseHeaders(frame []byte) (headers, error) {
	if len(frame) < ethernetHeader {
		return headers{}, errNoEthernet
	}
	at := 12 + tagLen*tagStack(frame)
	h := headers{etherType: binary.BigEndian.Uint16(frame[at:]), network: at + 2}
	switch h.etherType {
	case etherTypeIPv4:
		return h, h.parseIPv4(frame[h.network:])
	case etherTypeIPv6:
		return h, h.parseIPv6(frame[h.network:])
	}
	return h, nil
}

func (h *headers) parseIPv4(ip []byte) error {
	if len(ip) < ipv4Header || ip[0]>>4 != 4 {
		return errors.New("no IPv4 header")
	}
	n := int(ip[0]&0x0f) * 4
	if n < ipv4Header || len(ip) < n {
		return fmt.Errorf("an IPv4 header of %d octets", n)
	}
	h.protocol = ip[9]
	h.fragment = binary.BigEndian.Uint16(ip[6:])&0x3fff != 0
	h.transport = h.network + n
	return nil
}

func (h *headers) parseIPv6(ip []byte) error {
	if len(ip) < ipv6Header || ip[0]>>4 != 6 {
		return errors.New("no IPv6 header")
	}
	next, at := ip[6], ipv6Header
	for {
		switch next {
		case 0, 43, 60: // hop-by-hop options, routing, destination options
			if len(ip) < at+8 {
				return errors.New("an IPv6 extension header that is cut short")
			}
			next, at = ip[at], at+8+int(ip[at+1])*8
			continue
		case 44: // fragment
			if len(ip) < at+8 {
				return errors.New("an IPv6 fragment header that is cut short")
			}
			h.fragment = true
			next, at = ip[at], at+8
			continue
		}
		if len(ip) < at {
			return errors.New("an IPv6 extension header that is cut short")
		}
		h.protocol, h.transport = next, h.network+at
		return nil
	}
}

// addresses are the source and destination address of the frame's IP header.
func (h *headers) addresses(frame []byte) []byte {
	if h.etherType == etherTypeIPv4 {
		return frame[h.network+12 : h.network+20]
	}
	return frame[h.network+8 : h.network+40]
}

// What Linux takes a frame for that has a length where others have an EtherType.
const (
	linux8023 uint16 = 0x0001 // ETH_P_802_3, Novell's
	linux8022 uint16 = 0x0004 // ETH_P_802_2, LLC
)

const etherTypeARP uint16 = 0x0806

// CommonEtherTypes are those of frames that stacks send by themselves, and of tags.
func CommonEtherTypes() []uint16 {
	return []uint16{etherTypeARP, etherTypeIPv4, etherTypeIPv6, Dot1Q, Dot1AD}
}

// EtherTypes are those under which a stack can be handed frames of the batch, for
// [Tap.Watch]: with none, one or more of their tags removed.
func (b *Batch) EtherTypes() []uint16 {
	var types []uint16
	if len(b.Raw) == 0 {
		frame, _ := b.Packet(0, nil)
		return appendEtherTypes(types, frame)
	}
	for _, frame := range b.Raw {
		types = appendEtherTypes(types, frame)
	}
	return types
}

func appendEtherTypes(types []uint16, frame []byte) []uint16 {
	last := 12 + tagLen*tagStack(frame)
	for at := 12; at <= last; at += tagLen {
		t := binary.BigEndian.Uint16(frame[at:])
		if t < 0x0600 {
			if t = linux8022; len(frame) >= at+4 && binary.BigEndian.Uint16(frame[at+2:]) == 0xffff {
				t = linux8023
			}
		}
		types = append(types, t)
	}
	return types
}
