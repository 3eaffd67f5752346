package demux

import (
	"encoding/binary"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// constantsSection is where the programs are compiled to find their constants.
const constantsSection = ".rodata"

// foldConstants puts the constants, once they are set, into the instructions that load them. The address of a client
// hangs on them, and after a system call it may take a walk through the page tables to load one (25 ns).
func foldConstants(spec *ebpf.CollectionSpec) {
	constants := make(map[uint32]*ebpf.VariableSpec) // by offset in the section
	for _, v := range spec.Variables {
		if v.SectionName == constantsSection {
			constants[v.Offset] = v
		}
	}
	for _, program := range spec.Programs {
		for i := range program.Instructions[1:] {
			foldConstant(constants, &program.Instructions[i], &program.Instructions[i+1])
		}
	}
}

// foldConstant puts a constant in the place of its address, where it is loaded into the same register right behind that.
func foldConstant(constants map[uint32]*ebpf.VariableSpec, address, load *asm.Instruction) {
	if !address.IsLoadFromMap() || address.Reference() != constantsSection ||
		load.OpCode.Class() != asm.LdXClass || load.Src != address.Dst || load.Dst != address.Dst || load.Offset != 0 || load.Symbol() != "" {
		return
	}
	constant, ok := constants[uint32(address.Constant>>32)]
	if !ok || load.OpCode.Size().Sizeof() != len(constant.Value) {
		return
	}
	var value uint64
	switch octets := constant.Value; len(octets) {
	case 1:
		value = uint64(octets[0])
	case 4:
		value = uint64(binary.NativeEndian.Uint32(octets))
	case 8:
		value = binary.NativeEndian.Uint64(octets)
	default:
		return
	}
	immediate := asm.LoadImm(load.Dst, int64(value), asm.DWord)
	*address = immediate.WithMetadata(address.Metadata).WithReference("")
	nothing := asm.Instruction{OpCode: asm.Ja.Op(asm.ImmSource)} // which the kernel takes out
	*load = nothing.WithMetadata(load.Metadata)
}
