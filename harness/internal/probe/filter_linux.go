package probe

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// packets are those that a packet socket takes.
type packets int

const (
	allPackets packets = iota
	otherPackets
	sctpSuperPackets
)

// filter is one of a packet socket. It counts what crosses in one direction with a mark or a priority, which
// no capture shows.
type filter struct {
	counter *ebpf.Map
	program *ebpf.Program
}

// Offsets in struct __sk_buff.
const (
	skbPacketType = 4
	skbMark       = 8
	skbPriority   = 32
	skbGSOSize    = 176
)

// gsoByFrags is the segment size of SCTP's super-packets, and of no others.
const gsoByFrags = 0xffff

// attachFilter attaches one to a packet socket that nothing arrives at yet; no direction counts nothing.
// It needs CAP_BPF, and CAP_NET_ADMIN before Linux 5.8.
func attachFilter(fd int, marked Direction, take packets) (_ *filter, err error) {
	f := &filter{}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	f.counter, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return nil, fmt.Errorf("making a counter of marked packets: %w", err)
	}
	f.program, err = ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SocketFilter, License: "Dual BSD/GPL",
		Instructions: slices.Concat(
			asm.Instructions{asm.Mov.Reg(asm.R6, asm.R1)}, countMarked(f.counter, marked), verdict(take),
		),
	})
	if err != nil {
		return nil, fmt.Errorf("loading the filter of a packet socket: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ATTACH_BPF, f.program.FD()); err != nil {
		return nil, fmt.Errorf("attaching the filter of a packet socket: %w", err)
	}
	return f, nil
}

func countMarked(counter *ebpf.Map, direction Direction) asm.Instructions {
	if direction == 0 {
		return nil
	}
	otherwise := asm.JNE
	if direction == In {
		otherwise = asm.JEq
	}
	return asm.Instructions{
		asm.LoadMem(asm.R2, asm.R6, skbPacketType, asm.Word),
		otherwise.Imm(asm.R2, unix.PACKET_OUTGOING, "verdict"),
		asm.LoadMem(asm.R2, asm.R6, skbMark, asm.Word),
		asm.LoadMem(asm.R3, asm.R6, skbPriority, asm.Word),
		asm.Or.Reg(asm.R2, asm.R3),
		asm.JEq.Imm(asm.R2, 0, "verdict"),
		asm.LoadMapValue(asm.R1, counter.FD(), 0),
		asm.Mov.Imm(asm.R2, 1),
		asm.StoreXAdd(asm.R1, asm.R2, asm.DWord),
	}
}

// verdict returns the octets that the socket takes: all or none.
func verdict(take packets) asm.Instructions {
	whole := asm.Mov.Imm(asm.R0, -1)
	if take == allPackets {
		return asm.Instructions{whole.WithSymbol("verdict"), asm.Return()}
	}
	taken := asm.JNE
	if take == sctpSuperPackets {
		taken = asm.JEq
	}
	return asm.Instructions{
		asm.LoadMem(asm.R2, asm.R6, skbGSOSize, asm.Word).WithSymbol("verdict"),
		whole,
		taken.Imm(asm.R2, gsoByFrags, "end"),
		asm.Mov.Imm(asm.R0, 0),
		asm.Return().WithSymbol("end"),
	}
}

// marked is how many packets crossed with a mark or a priority.
func (f *filter) marked() (n uint64, err error) {
	if err := f.counter.Lookup(uint32(0), &n); err != nil {
		return 0, fmt.Errorf("reading the counter of marked packets: %w", err)
	}
	return n, nil
}

func (f *filter) close() error { return errors.Join(f.program.Close(), f.counter.Close()) }
