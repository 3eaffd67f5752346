package demux

import (
	"slices"
	"testing"

	"github.com/cilium/ebpf/asm"
	. "github.com/onsi/gomega"
)

// A build whose instructions foldConstants does not understand would be right, and slower.
func TestNoFrameWaitsForConstants(t *testing.T) {
	g := NewWithT(t)
	spec, err := loadBpf()
	g.Expect(err).NotTo(HaveOccurred())
	foldConstants(spec)

	rare := []uint32{ // the flood of a group frame, and a client whose location is in earlier maps, may wait
		spec.Variables[bpfVarGroupIntervalNs].Offset, spec.Variables[bpfVarFormerWidth].Offset,
	}
	loaded := func(program string) (offsets []uint32) {
		instructions := spec.Programs[program].Instructions
		for i, load := range instructions[1:] {
			address := instructions[i]
			offset := uint32(address.Constant >> 32)
			if address.IsLoadFromMap() && address.Reference() == constantsSection && load.OpCode.Class() == asm.LdXClass && load.Src == address.Dst &&
				!slices.Contains(rare, offset) {
				offsets = append(offsets, offset)
			}
		}
		return offsets
	}
	for _, program := range []string{bpfProgPhys2virt, bpfProgVirt2phys, bpfProgEarlyDrop} {
		g.Expect(loaded(program)).To(BeEmpty(), program)
	}
}
