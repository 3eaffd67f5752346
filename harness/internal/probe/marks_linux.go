package probe

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// marks counts, in a socket filter that takes every packet, those that cross in one
// direction with a mark or a priority. No capture shows either.
type marks struct {
	counter *ebpf.Map
	program *ebpf.Program
}

// Offsets in struct __sk_buff.
const (
	skbPacketType = 4
	skbMark       = 8
	skbPriority   = 32
)

// countMarks attaches the filter to a packet socket that nothing arrives at yet.
// It needs CAP_BPF, and CAP_NET_ADMIN before Linux 5.8.
func countMarks(fd int, direction Direction) (_ *marks, err error) {
	m := &marks{}
	otherwise := asm.JNE
	if direction == In {
		otherwise = asm.JEq
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.close())
		}
	}()
	m.counter, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return nil, fmt.Errorf("making a counter of marked packets: %w", err)
	}
	m.program, err = ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SocketFilter, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{
			asm.LoadMem(asm.R2, asm.R1, skbPacketType, asm.Word),
			otherwise.Imm(asm.R2, unix.PACKET_OUTGOING, "take"),
			asm.LoadMem(asm.R2, asm.R1, skbMark, asm.Word),
			asm.LoadMem(asm.R3, asm.R1, skbPriority, asm.Word),
			asm.Or.Reg(asm.R2, asm.R3),
			asm.JEq.Imm(asm.R2, 0, "take"),
			asm.LoadMapValue(asm.R1, m.counter.FD(), 0),
			asm.Mov.Imm(asm.R2, 1),
			asm.StoreXAdd(asm.R1, asm.R2, asm.DWord),
			asm.Mov.Imm(asm.R0, -1).WithSymbol("take"), // octets: all of them
			asm.Return(),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("loading the filter that counts marked packets: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ATTACH_BPF, m.program.FD()); err != nil {
		return nil, fmt.Errorf("attaching the filter that counts marked packets: %w", err)
	}
	return m, nil
}

func (m *marks) count() (n uint64, err error) {
	if err := m.counter.Lookup(uint32(0), &n); err != nil {
		return 0, fmt.Errorf("reading the counter of marked packets: %w", err)
	}
	return n, nil
}

func (m *marks) close() error { return errors.Join(m.program.Close(), m.counter.Close()) }
