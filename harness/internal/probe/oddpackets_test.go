package probe

import (
	"encoding/binary"
	"iter"
)

func macA() MAC { return MAC{0x02, 0, 0, 0, 0, 0x0a} }
func macB() MAC { return MAC{0x02, 0, 0, 0, 0, 0x0b} }

// sightings are those that a stopped tap hands over.
func sightings(tap *Tap) iter.Seq[Sighting] {
	seen, err := tap.Sightings()
	if err != nil {
		panic(err)
	}
	return unnumbered(seen)
}

func unnumbered(all iter.Seq2[int, Sighting]) iter.Seq[Sighting] {
	return func(yield func(Sighting) bool) {
		all(func(_ int, s Sighting) bool { return yield(s) })
	}
}

func pull(tap *Tap) (func() (Sighting, bool), func()) { return iter.Pull(sightings(tap)) }

type superPacketSample struct {
	packet []byte
	hdr    VirtioNetHeader
}

// oddSuperPackets are what a [Batch] never makes.
func oddSuperPackets() map[string]superPacketSample {
	return map[string]superPacketSample{
		"short last segment":  odd(UDP, false, 0, 0, 4001),
		"one octet over":      odd(TCP, false, 0, 0, 1001),
		"TCP with all flags":  odd(TCP, false, 0, 0, 3500, 0xff),
		"CWR and FIN on IPv6": odd(TCP, true, 0, 0, 3500, 0x91),
		"TCP options":         odd(TCP, false, 0, 12, 3500),
		"IPv4 options":        odd(TCP, false, 8, 0, 3500),
		"IPv4 options, UDP":   odd(UDP, false, 4, 0, 3500),
		"IPv6 extensions":     odd(TCP, true, 8, 20, 3500),
	}
}

// odd is a super-packet with that many octets of IP and TCP options (on IPv6 a
// destination options header), segments of 1000 octets, and TCP flags.
func odd(protocol string, v6 bool, ipOptions, tcpOptions, payload int, flags ...byte) superPacketSample {
	b := &Batch{ID: 5, Count: 1, Flow: flow(protocol, v6), GSO: &GSO{SegmentSize: payload / 2, Segments: 2}}
	packet, hdr := b.Packet(0, nil)
	transport := int(hdr.CsumStart)
	packet = append(packet, make([]byte, payload-payload/2*2)...)
	if protocol == TCP {
		at := transport + tcpHeader
		packet = insert(packet, at, make([]byte, tcpOptions))
		for i := range tcpOptions {
			packet[at+i] = 1 // no operation
		}
		packet[transport+12] += byte(tcpOptions / 4 << 4)
		for _, f := range flags {
			packet[transport+13] = f
		}
	}
	length := len(packet) - transport
	number := protocolUDP
	if protocol == TCP {
		number = protocolTCP
	} else {
		binary.BigEndian.PutUint16(packet[transport+4:], uint16(length))
	}
	h, _ := parseHeaders(packet)
	binary.BigEndian.PutUint16(packet[transport+int(hdr.CsumOffset):], pseudoHeader(h.addresses(packet), number, length))
	options := make([]byte, ipOptions)
	if v6 && ipOptions > 0 {
		copy(options, []byte{packet[20], 0, 1, 4}) // PadN
		packet[20] = 60
	} else {
		for i := range options {
			options[i] = 1
		}
	}
	packet = insert(packet, transport, options)
	if v6 {
		binary.BigEndian.PutUint16(packet[18:], uint16(len(packet)-ethernetHeader-ipv6Header))
	} else {
		packet[14] += byte(ipOptions / 4)
		binary.BigEndian.PutUint16(packet[16:], uint16(len(packet)-ethernetHeader))
		packet[24], packet[25] = 0, 0
		binary.BigEndian.PutUint16(packet[24:], ^fold(sumOctets(0, packet[14:transport+ipOptions])))
	}
	hdr.CsumStart += uint16(ipOptions)
	hdr.HdrLen += uint16(ipOptions + tcpOptions)
	hdr.GSOSize = 1000
	return superPacketSample{packet, hdr}
}

func insert(b []byte, at int, more []byte) []byte {
	return append(append(append([]byte{}, b[:at]...), more...), b[at:]...)
}
