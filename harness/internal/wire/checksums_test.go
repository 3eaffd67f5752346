package wire

import (
	"encoding/binary"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestChecksumErrorsAreCounted(t *testing.T) {
	g := NewWithT(t)
	n := lay(t, newPlan(t, "tc", vlan2, vlan2))
	before, err := n.ChecksumErrors()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(before).To(And(HaveKeyWithValue("c1 Udp InCsumErrors", BeZero()), HaveKey("w0 Tcp InCsumErrors"), HaveKey("host Icmp InCsumErrors")))

	// A datagram to c1 whose IPv4 header is right and whose own checksum is not.
	packet := append(newFrame(clientMAC(0), clientMAC(1))[:12:12], 0x08, 0x00, //nolint:gocritic // a copy: the capacity ends there
		0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
		0x13, 0x88, 0x13, 0x89, 0, 8, 0xbe, 0xef)
	var sum uint32
	for i := 14; i < 34; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(packet[i:]))
	}
	binary.BigEndian.PutUint16(packet[24:], ^uint16(sum+sum>>16))
	tt := openTaps(t, n)
	c0 := tt["c0/eth0"]
	c0.send(t, packet)
	g.Eventually(n.ChecksumErrors).WithTimeout(time.Minute).Should(HaveKeyWithValue("c1 Udp InCsumErrors", BeEquivalentTo(1)))
	g.Expect(n.ChecksumErrors()).To(HaveKeyWithValue("w0 Udp InCsumErrors", BeZero()))
}
