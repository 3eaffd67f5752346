package demux

import (
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

	loaded := func(program string) (offsets []uint32) {
		instructions := spec.Programs[program].Instructions
		for i, load := range instructions[1:] {
			address := instructions[i]
			if address.IsLoadFromMap() && address.Reference() == constantsSection && load.OpCode.Class() == asm.LdXClass && load.Src == address.Dst {
				offsets = append(offsets, uint32(address.Constant>>32))
			}
		}
		return offsets
	}
	g.Expect(loaded(bpfProgPhys2virt)).To(BeEmpty())
	g.Expect(loaded(bpfProgEarlyDrop)).To(BeEmpty())
	g.Expect(loaded(bpfProgVirt2phys)).To(HaveEach(spec.Variables[bpfVarGroupIntervalNs].Offset), "only the flood of a group frame may")
}
