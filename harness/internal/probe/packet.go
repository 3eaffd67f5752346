package probe

import (
	"encoding/binary"
	"iter"
	"slices"
)

const (
	ethernetHeader = 14
	tagLen         = 4
	ipv4Header     = 20
	ipv6Header     = 40
	udpHeader      = 8
	tcpHeader      = 20
	minPayload     = 12 // magic and frame ID

	optionsUnit = 8  // octets of the shortest IPv6 extension header
	maxOptions  = 40 // octets of options in an IPv4 header

	udpChecksum = 6  // offset of the checksum in the UDP header
	tcpChecksum = 16 // and in the TCP header

	// magic stands before a frame's ID. Its first nibble is no IP version.
	magic uint32 = 0xd36d7578

	// sizeStride is a prime above every span of sizes, so that stepping by it
	// visits each size of a span once before any comes again.
	sizeStride = 10007

	tcpACK, tcpPSH byte = 0x10, 0x08
)

// headerLen is the octets before the payload, tags included.
func (b *Batch) headerLen() int {
	n := ethernetHeader + tagLen*len(b.Tags)
	if b.Flow == nil {
		return n
	}
	return n + b.Flow.ipHeaderLen() + b.Flow.headerLen()
}

func (f *Flow) ipHeaderLen() int {
	if f.Source.Addr().Is4() {
		return ipv4Header + f.Options
	}
	return ipv6Header + f.Options
}

func (f *Flow) headerLen() int {
	if f.Protocol == TCP {
		return tcpHeader
	}
	return udpHeader
}

func (b *Batch) packetLen(i int) int {
	if b.GSO != nil {
		return b.headerLen() + b.GSO.SegmentSize*b.GSO.Segments
	}
	if span := b.MaxSize - b.Size + 1; span > 1 {
		return b.Size + int((uint64(b.ID)+uint64(i))*sizeStride%uint64(span))
	}
	return b.Size
}

// Packet builds packet i of the batch, 0 ≤ i < Packets(): what is handed to the
// kernel, and the virtio header that goes before it on a socket with
// PACKET_VNET_HDR (zero unless the batch has GSO). The frame is built in buf
// where that has the capacity; a Raw frame is the batch's own and read-only. The
// batch must be valid.
func (b *Batch) Packet(i int, buf []byte) (frame []byte, hdr VirtioNetHeader) {
	if len(b.Raw) > 0 {
		return b.Raw[i], VirtioNetHeader{}
	}
	n := b.packetLen(i)
	frame = slices.Grow(buf[:0], n)[:n]
	at := b.putEthernet(frame)
	payload := b.headerLen()
	if b.GSO == nil {
		fillPayload(frame[payload:], b.FrameID(i))
	} else {
		for s := range b.GSO.Segments {
			segment := frame[payload+s*b.GSO.SegmentSize:][:b.GSO.SegmentSize]
			fillPayload(segment, b.FrameID(i*b.GSO.Segments+s))
		}
	}
	if b.Flow != nil {
		hdr = b.putFlow(frame, at, i)
	}
	return frame, hdr
}

// Frames are the wire frames that packet i stands for, counted from 0, segmented by this
// package and not by the kernel. A frame is valid until the next one is asked for.
func (b *Batch) Frames(i int) iter.Seq2[int, []byte] { return b.wireFrames(i, i+1) }

// AllFrames are those of all packets of the batch; see [Batch.Frames].
func (b *Batch) AllFrames() iter.Seq2[int, []byte] { return b.wireFrames(0, b.Packets()) }

// wireFrames are those of the packets from first to before end.
func (b *Batch) wireFrames(first, end int) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		var segmenter Segmenter
		var packet []byte
		number, more := 0, true
		emit := func(frame []byte) bool {
			more = yield(number, frame)
			number++
			return more
		}
		for i := first; i < end && more; i++ {
			var hdr VirtioNetHeader
			packet, hdr = b.Packet(i, packet)
			if err := segmenter.Frames(packet, hdr, emit); err != nil {
				panic("segmenting a packet of batch " + b.Name + " which was not validated: " + err.Error())
			}
		}
	}
}

func (b *Batch) putEthernet(frame []byte) int {
	copy(frame, b.Destination[:])
	copy(frame[6:], b.Source[:])
	at := 12
	for _, tag := range b.Tags {
		binary.BigEndian.PutUint16(frame[at:], tag.Protocol)
		binary.BigEndian.PutUint16(frame[at+2:], tag.TCI)
		at += tagLen
	}
	etherType := b.EtherType
	switch {
	case b.Flow != nil && b.Flow.Source.Addr().Is4():
		etherType = etherTypeIPv4
	case b.Flow != nil:
		etherType = etherTypeIPv6
	case etherType == 0:
		etherType = DefaultEtherType
	}
	binary.BigEndian.PutUint16(frame[at:], etherType)
	return at + 2
}

// fillPayload writes magic, ID and octets that follow from the ID.
func fillPayload(p []byte, id uint64) {
	binary.BigEndian.PutUint32(p, magic)
	binary.BigEndian.PutUint64(p[4:], id)
	p = p[minPayload:]
	state := id
	for len(p) >= 8 {
		binary.LittleEndian.PutUint64(p, splitmix(&state))
		p = p[8:]
	}
	var last [8]byte
	binary.LittleEndian.PutUint64(last[:], splitmix(&state))
	copy(p, last[:])
}

// splitmix is the SplitMix64 generator of Steele, Lea and Flood.
func splitmix(state *uint64) uint64 {
	*state += 0x9e3779b97f4a7c15
	z := *state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// putFlow writes the IP and transport headers at offset network of packet i.
func (b *Batch) putFlow(frame []byte, network, i int) VirtioNetHeader {
	f := b.Flow
	wire := i
	if b.GSO != nil {
		wire *= b.GSO.Segments
	}
	protocol, checksum := protocolUDP, udpChecksum
	if f.Protocol == TCP {
		protocol, checksum = protocolTCP, tcpChecksum
	}
	transport := network + f.ipHeaderLen()
	ip := frame[network:]
	if f.Source.Addr().Is4() {
		putIPv4(ip, f, protocol, uint16(wire))
	} else {
		putIPv6(ip, f, protocol)
	}
	h := headers{etherType: binary.BigEndian.Uint16(frame[network-2:]), network: network}
	segment := frame[transport:]
	payload := len(segment) - f.headerLen()
	if b.GSO != nil {
		payload = b.GSO.SegmentSize
	}
	f.putTransport(segment, uint32(wire)*uint32(payload))
	pseudo := pseudoHeader(h.addresses(frame), protocol, len(segment))
	if b.GSO != nil {
		binary.BigEndian.PutUint16(segment[checksum:], pseudo)
		hdr := VirtioNetHeader{
			Flags: VirtioNeedsChecksum, GSOType: VirtioGSOUDPL4, GSOSize: uint16(b.GSO.SegmentSize),
			HdrLen: uint16(b.headerLen()), CsumStart: uint16(transport), CsumOffset: uint16(checksum),
		}
		switch {
		case protocol == protocolTCP && f.Source.Addr().Is4():
			hdr.GSOType = VirtioGSOTCPv4
		case protocol == protocolTCP:
			hdr.GSOType = VirtioGSOTCPv6
		}
		return hdr
	}
	sum := ^fold(sumOctets(uint64(pseudo), segment))
	if protocol == protocolUDP {
		sum = orOnes(sum)
	}
	binary.BigEndian.PutUint16(segment[checksum:], sum)
	return VirtioNetHeader{}
}

func putIPv4(ip []byte, f *Flow, protocol uint8, id uint16) {
	src, dst := f.Source.Addr().As4(), f.Destination.Addr().As4()
	header := ip[:ipv4Header+f.Options]
	clear(header)
	header[0] = 0x40 | byte(len(header)/4)
	binary.BigEndian.PutUint16(header[2:], uint16(len(ip)))
	binary.BigEndian.PutUint16(header[4:], id)
	header[8], header[9] = 64, protocol
	copy(header[12:], src[:])
	copy(header[16:], dst[:])
	const noOperation = 1
	for i := ipv4Header; i < len(header); i++ {
		header[i] = noOperation
	}
	binary.BigEndian.PutUint16(header[10:], ^fold(sumOctets(0, header)))
}

func putIPv6(ip []byte, f *Flow, protocol uint8) {
	src, dst := f.Source.Addr().As16(), f.Destination.Addr().As16()
	clear(ip[:ipv6Header+f.Options])
	ip[0] = 0x60
	binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-ipv6Header))
	ip[7] = 64
	copy(ip[8:], src[:])
	copy(ip[24:], dst[:])
	next := &ip[6]
	for at := ipv6Header; at < ipv6Header+f.Options; at += optionsUnit {
		*next = protocolDestination
		if at == ipv6Header {
			*next = protocolHopByHop
		}
		extension := ip[at:]
		next = &extension[0]                 // its length, extension[1], is in units beyond the first: 0
		extension[2], extension[3] = padN, 4 // an option of 4 octets besides its own 2
	}
	*next = protocol
}

// putTransport writes the UDP or TCP header with a checksum of 0. Every TCP
// segment has PSH, which keeps a receiver's GRO from merging it with the next.
func (f *Flow) putTransport(segment []byte, sequence uint32) {
	clear(segment[:f.headerLen()])
	binary.BigEndian.PutUint16(segment, f.Source.Port())
	binary.BigEndian.PutUint16(segment[2:], f.Destination.Port())
	if f.Protocol == UDP {
		binary.BigEndian.PutUint16(segment[4:], uint16(len(segment)))
		return
	}
	binary.BigEndian.PutUint32(segment[4:], sequence)
	binary.BigEndian.PutUint32(segment[8:], 1)
	segment[12] = tcpHeader / 4 << 4
	segment[13] = tcpACK | tcpPSH
	binary.BigEndian.PutUint16(segment[14:], 0xffff)
}
