package probe

import (
	"testing"

	. "github.com/onsi/gomega"
)

func TestAPacketThatTheKernelDidNotWriteIsNone(t *testing.T) {
	_, written := parseRingPacket(make([]byte, 128))
	NewWithT(t).Expect(written).To(BeFalse())
}
