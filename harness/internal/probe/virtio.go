package probe

import "encoding/binary"

// VirtioNetHeaderLen is the octets of a [VirtioNetHeader] on a packet socket.
const VirtioNetHeaderLen = 10

// Flags and GSO types of a [VirtioNetHeader], from linux/virtio_net.h.
const (
	VirtioNeedsChecksum uint8 = 1 // CsumStart and CsumOffset are valid, the checksum is unfinished
	VirtioDataValid     uint8 = 2 // the checksum was checked

	VirtioGSONone  uint8 = 0
	VirtioGSOTCPv4 uint8 = 1
	VirtioGSOTCPv6 uint8 = 4
	VirtioGSOUDPL4 uint8 = 5
	VirtioGSOECN   uint8 = 0x80 // or'ed in: the first segment alone keeps CWR
)

// VirtioNetHeader is struct virtio_net_hdr: what is still to be done to a packet
// before it is on the wire. The zero value stands for nothing.
type VirtioNetHeader struct {
	Flags      uint8
	GSOType    uint8
	HdrLen     uint16 // a hint only
	GSOSize    uint16 // payload of a segment in octets
	CsumStart  uint16 // where checksumming begins, octets from the destination MAC
	CsumOffset uint16 // the checksum field, octets from CsumStart
}

// Put writes the header to b[:VirtioNetHeaderLen], in the machine's byte order.
func (h VirtioNetHeader) Put(b []byte) {
	_ = b[VirtioNetHeaderLen-1]
	b[0], b[1] = h.Flags, h.GSOType
	binary.NativeEndian.PutUint16(b[2:], h.HdrLen)
	binary.NativeEndian.PutUint16(b[4:], h.GSOSize)
	binary.NativeEndian.PutUint16(b[6:], h.CsumStart)
	binary.NativeEndian.PutUint16(b[8:], h.CsumOffset)
}

// ParseVirtioNetHeader reads the header from b[:VirtioNetHeaderLen].
func ParseVirtioNetHeader(b []byte) VirtioNetHeader {
	_ = b[VirtioNetHeaderLen-1]
	return VirtioNetHeader{
		Flags: b[0], GSOType: b[1],
		HdrLen:     binary.NativeEndian.Uint16(b[2:]),
		GSOSize:    binary.NativeEndian.Uint16(b[4:]),
		CsumStart:  binary.NativeEndian.Uint16(b[6:]),
		CsumOffset: binary.NativeEndian.Uint16(b[8:]),
	}
}
