package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

const (
	protocolSCTP uint8 = 132

	sctpHeader, sctpChecksum, sctpChunkHeader = 12, 8, 4

	// gsoSCTP is no GSO type of virtio's. The segment size beside it is the most octets of a segment with its IP header.
	gsoSCTP uint8 = 0x40
)

// finishSCTP puts in a packet's CRC32c, which Linux leaves to cards like other checksums.
func finishSCTP(frame []byte, transport int) {
	packet := frame[transport:]
	checksum := packet[sctpChecksum:][:4]
	clear(checksum)
	binary.LittleEndian.PutUint32(checksum, crc32.Checksum(packet, crc32.MakeTable(crc32.Castagnoli)))
}

// cutSCTP emits the segments of a super-packet of SCTP. Chunks go into a segment for as long as it has room, as in
// the kernel's sctp_packet_pack: where the segments end stands nowhere in the data.
func (s *Segmenter) cutSCTP(packet []byte, hdr VirtioNetHeader, emit func([]byte) bool) error {
	h, err := parseHeaders(packet)
	if err == nil && (h.protocol != protocolSCTP || h.fragment || len(packet) < h.transport+sctpHeader) {
		err = errors.New("it is no packet of SCTP")
	}
	var chunks [][]byte
	if err == nil {
		chunks, err = sctpChunks(packet[h.transport+sctpHeader:])
	}
	if err != nil {
		return fmt.Errorf("splitting a super-packet of SCTP with %d octets: %w", len(packet), err)
	}
	for i := 0; len(chunks) > 0; i++ {
		s.buf = append(s.buf[:0], packet[:h.transport+sctpHeader]...)
		for first := true; len(chunks) > 0 && (first || len(s.buf)+len(chunks[0])-h.network <= int(hdr.GSOSize)); first = false {
			s.buf = append(s.buf, chunks[0]...)
			chunks = chunks[1:]
		}
		h.numberIP(s.buf, i)
		finishSCTP(s.buf, h.transport)
		if !emit(s.buf) {
			return nil
		}
	}
	return nil
}

// sctpChunks are all chunks, each with what fills it to a multiple of 4 octets.
func sctpChunks(octets []byte) (chunks [][]byte, err error) {
	for len(octets) > 0 {
		if len(octets) < sctpChunkHeader {
			return nil, fmt.Errorf("%d octets are left behind the last chunk", len(octets))
		}
		length := int(binary.BigEndian.Uint16(octets[2:]))
		padded := (length + 3) &^ 3
		if length < sctpChunkHeader || padded > len(octets) {
			return nil, fmt.Errorf("chunk %d has %d octets, %d are left", len(chunks)+1, length, len(octets))
		}
		chunks, octets = append(chunks, octets[:padded]), octets[padded:]
	}
	return chunks, nil
}
