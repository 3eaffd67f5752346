package fault

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/perf"
	"golang.org/x/sys/unix"
)

const (
	metaOctets = 8        // what stands before a packet in a sample
	ringOctets = 64 << 10 // for each CPU
)

// delaying are instructions that take the frame away and hand it to user space, which sends
// it out of the interface once its time has come.
func (f Fault) delaying(ifindex int) (_ asm.Instructions, err error) {
	samples, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.PerfEventArray})
	if err != nil {
		return nil, fmt.Errorf("making room for the frame: %w", err)
	}
	reader, err := perf.NewReader(samples, ringOctets)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading the frame: %w", err), samples.Close())
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: ifindex})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening a packet socket for the frame: %w", err), reader.Close(), samples.Close())
	}
	out := os.NewFile(uintptr(fd), "packet socket")
	go func() {
		defer func() { _ = errors.Join(out.Close(), reader.Close(), samples.Close()) }() // the frame has left, or is missing
		if sample, err := reader.Read(); err == nil && len(sample.RawSample) > metaOctets {
			size := int(uint32(sample.RawSample[0]) | uint32(sample.RawSample[1])<<8)
			time.Sleep(f.By)
			_, _ = out.Write(sample.RawSample[metaOctets:][:size])
		}
	}()
	return asm.Instructions{
		asm.LoadMem(asm.R7, asm.R6, skbLen, asm.Word).WithSymbol("break"),
		asm.StoreMem(asm.RFP, -metaOctets, asm.R7, asm.DWord),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.LoadMapPtr(asm.R2, samples.FD()),
		asm.Mov.Reg(asm.R3, asm.R7),
		asm.LSh.Imm(asm.R3, 32), // that much of the packet
		asm.LoadImm(asm.R4, 0xffffffff, asm.DWord),
		asm.Or.Reg(asm.R3, asm.R4), // BPF_F_CURRENT_CPU
		asm.Mov.Reg(asm.R4, asm.RFP),
		asm.Add.Imm(asm.R4, -metaOctets),
		asm.Mov.Imm(asm.R5, metaOctets),
		asm.FnPerfEventOutput.Call(),
		asm.Mov.Imm(asm.R0, actStolen),
		asm.Return(),
	}, nil
}
