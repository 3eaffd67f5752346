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

// foldConstant turns the load of a constant of 32 bits or less, right behind that of its address, into that of an
// immediate value.
func foldConstant(constants map[uint32]*ebpf.VariableSpec, address, load *asm.Instruction) {
	if !address.IsLoadFromMap() || address.Reference() != constantsSection ||
		load.OpCode.Class() != asm.LdXClass || load.Src != address.Dst || load.Offset != 0 {
		return
	}
	constant, ok := constants[uint32(address.Constant>>32)]
	if !ok || load.OpCode.Size().Sizeof() != len(constant.Value) {
		return
	}
	var value int32
	switch octets := constant.Value; len(octets) {
	case 1:
		value = int32(octets[0])
	case 4:
		value = int32(binary.NativeEndian.Uint32(octets))
	default: // no instruction of this length has room for it
		return
	}
	immediate := asm.Mov.Imm32(load.Dst, value)
	*load = immediate.WithMetadata(load.Metadata)
}
