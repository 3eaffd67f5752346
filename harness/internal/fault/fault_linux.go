// Package fault breaks exactly one frame on its way out of an interface, or the interface, to show that
// whoever looks for broken frames finds those.
package fault

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Kind is what happens to the frame, or to the interface.
type Kind string

// The kinds.
const (
	Drop    Kind = "drop"    // it ends here
	Double  Kind = "double"  // it leaves twice
	Corrupt Kind = "corrupt" // its last octet is inverted
	Delay   Kind = "delay"   // it leaves later; only where frames have no tag beside their data
	Down    Kind = "down"    // the interface is taken down
	MTU     Kind = "MTU"     // it takes no frame that is longer
)

// Fault is what happens to one of the frames that leave an interface.
type Fault struct {
	Kind Kind `json:"kind"`
	// Nth is which frame, counted from 1 when the fault is installed. Frames that leave at
	// the same moment on several CPUs may be counted as one: let one sender send.
	Nth int `json:"nth"`
	// By is how much later a delayed frame leaves.
	By time.Duration `json:"by,omitempty"`
	// MTU in octets.
	MTU int `json:"mtu,omitempty"`
}

// breakInterface is for the faults that are no single frame's.
func (f Fault) breakInterface(name string) error {
	link, err := netlink.LinkByName(name)
	if err == nil && f.Kind == Down {
		err = netlink.LinkSetDown(link)
	} else if err == nil {
		err = netlink.LinkSetMTU(link, f.MTU)
	}
	if err != nil {
		return fmt.Errorf("installing a fault at the interface %s (%s): %w", name, f.Kind, err)
	}
	return nil
}

// Install adds a tc program at egress of an interface of the calling thread's network
// namespace. It stays until the interface is gone. Taps of the interface see what it
// has left of the frame.
func Install(name string, f Fault) error {
	wrap := func(err error) error {
		return fmt.Errorf("installing a fault at the interface %s (%s frame %d): %w", name, f.Kind, f.Nth, err)
	}
	if f.Kind == Down || f.Kind == MTU {
		return f.breakInterface(name)
	}
	if f.Nth < 1 {
		return wrap(errors.New("frames are counted from 1"))
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return wrap(err)
	}
	var broken asm.Instructions
	if f.Kind == Delay {
		broken, err = f.delaying(link.Attrs().Index)
	} else {
		broken, err = f.instructions(link.Attrs().Index)
	}
	if err != nil {
		return wrap(err)
	}
	counter, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return wrap(err)
	}
	defer counter.Close() //nolint:errcheck // the program keeps it
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "fault", Type: ebpf.SchedCLS, License: "GPL",
		Instructions: append(counting(counter, f.Nth), broken...),
	})
	if err != nil {
		return wrap(err)
	}
	defer program.Close() //nolint:errcheck // the filter keeps it
	qdisc := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}
	if err := netlink.QdiscAdd(qdisc); err != nil && !errors.Is(err, os.ErrExist) { // the tc switch has made one
		return wrap(err)
	}
	err = netlink.FilterAdd(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: link.Attrs().Index, Parent: netlink.HANDLE_MIN_EGRESS, Priority: 1, Protocol: unix.ETH_P_ALL},
		Fd:          program.FD(), Name: "fault", DirectAction: true,
	})
	if err != nil {
		return wrap(err)
	}
	return nil
}

// Verdicts of tc programs (linux/pkt_cls.h).
const (
	actUnspec = -1 // whatever is attached behind has its say
	actShot   = 2
	actStolen = 4 // like actShot, but its sender is not told
)

// counting leaves every frame alone but the nth, and falls through with that. R6 is the packet.
func counting(counter *ebpf.Map, nth int) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.LoadMapPtr(asm.R1, counter.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "leave"),
		asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord),
		asm.Add.Imm(asm.R1, 1),
		asm.StoreMem(asm.R0, 0, asm.R1, asm.DWord),
		asm.JEq.Imm(asm.R1, int32(nth), "break"),
		asm.Mov.Imm(asm.R0, actUnspec).WithSymbol("leave"),
		asm.Return(),
	}
}

func (f Fault) instructions(ifindex int) (asm.Instructions, error) {
	const octet = -8 // on the stack
	leave := asm.Instructions{asm.Mov.Imm(asm.R0, actUnspec), asm.Return()}
	var all asm.Instructions
	switch f.Kind {
	case Drop:
		all = asm.Instructions{asm.Mov.Imm(asm.R0, actShot), asm.Return()}
	case Double:
		all = append(asm.Instructions{
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.Mov.Imm(asm.R2, int32(ifindex)),
			asm.Mov.Imm(asm.R3, 0),
			asm.FnCloneRedirect.Call(),
		}, leave...)
	case Corrupt:
		at := func() asm.Instructions { // R1 the packet, R2 the last octet's offset, R3 where it is on the stack, R4 one octet
			return asm.Instructions{
				asm.Mov.Reg(asm.R1, asm.R6),
				asm.LoadMem(asm.R2, asm.R6, skbLen, asm.Word),
				asm.Sub.Imm(asm.R2, 1),
				asm.Mov.Reg(asm.R3, asm.RFP),
				asm.Add.Imm(asm.R3, octet),
				asm.Mov.Imm(asm.R4, 1),
			}
		}
		all = append(at(), asm.FnSkbLoadBytes.Call(),
			asm.LoadMem(asm.R1, asm.RFP, octet, asm.Byte), asm.Xor.Imm(asm.R1, 0xff), asm.StoreMem(asm.RFP, octet, asm.R1, asm.Byte))
		all = append(append(append(all, at()...), asm.Mov.Imm(asm.R5, 0), asm.FnSkbStoreBytes.Call()), leave...)
	default:
		return nil, fmt.Errorf("there is no such fault: %q", f.Kind)
	}
	all[0] = all[0].WithSymbol("break")
	return all, nil
}

// skbLen is the offset of len in struct __sk_buff (linux/bpf.h).
const skbLen = 0
