// Command vlanworkers is a dataplane with a contract of its own, to show how the harness tests one: each worker has a VLAN.
//
//	vlanworkers run TRUNK VID=WORKER…
//
// A frame of a VLAN loses its tag and goes to the VLAN's worker, whoever it is from. A frame from a worker gets the VLAN's tag and goes to the trunk.
// Everything else is dropped.
//
//	vlanworkers detach
//
// has nothing to do: it ends with the interfaces.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func main() {
	err := errors.New("usage: vlanworkers run TRUNK VID=WORKER… | detach")
	switch args := os.Args[1:]; {
	case len(args) == 1 && args[0] == "detach":
		return
	case len(args) > 1 && args[0] == "run":
		err = run(args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "vlanworkers:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	trunk, err := net.InterfaceByName(args[0])
	if err != nil {
		return err
	}
	fromTrunk := asm.Instructions{asm.Mov.Reg(asm.R6, asm.R1)}
	for _, arg := range args[1:] {
		text, name, _ := strings.Cut(arg, "=")
		vid, err := strconv.ParseUint(text, 10, 12)
		if err != nil {
			return fmt.Errorf("%s: %w", arg, err)
		}
		worker, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		if err := attach(worker.Index, toTrunk(trunk.Index, int32(vid))); err != nil {
			return err
		}
		fromTrunk = append(fromTrunk, toWorker(worker.Index, int32(vid), "not "+text)...)
		fromTrunk = append(fromTrunk, asm.Mov.Imm(asm.R0, drop).WithSymbol("not "+text))
	}
	if err := attach(trunk.Index, append(fromTrunk, asm.Return())); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "ready")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	<-ctx.Done()
	return nil
}

const (
	drop = 2 // TC_ACT_SHOT
	// Offsets in struct __sk_buff (linux/bpf.h).
	vlanPresent, vlanTCI, vlanProtocol = 20, 24, 28
)

// bigEndian is 802.1Q's EtherType as the programs see it.
const bigEndian = int32(0x0081)

func toWorker(ifindex int, vid int32, otherwise string) asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R2, asm.R6, vlanPresent, asm.Word),
		asm.JEq.Imm(asm.R2, 0, otherwise),
		asm.LoadMem(asm.R2, asm.R6, vlanProtocol, asm.Word),
		asm.JNE.Imm(asm.R2, bigEndian, otherwise),
		asm.LoadMem(asm.R2, asm.R6, vlanTCI, asm.Word),
		asm.And.Imm(asm.R2, 0xfff),
		asm.JNE.Imm(asm.R2, vid, otherwise),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.FnSkbVlanPop.Call(),
		asm.Mov.Imm(asm.R1, int32(ifindex)),
		asm.Mov.Imm(asm.R2, 0),
		asm.FnRedirect.Call(),
		asm.Return(),
	}
}

func toTrunk(ifindex int, vid int32) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Imm(asm.R2, bigEndian),
		asm.Mov.Imm(asm.R3, vid),
		asm.FnSkbVlanPush.Call(),
		asm.Mov.Imm(asm.R1, int32(ifindex)),
		asm.Mov.Imm(asm.R2, 0),
		asm.FnRedirect.Call(),
		asm.Return(),
	}
}

// attach runs a program on what comes in at an interface, until the interface is gone.
func attach(ifindex int, instructions asm.Instructions) error {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: instructions})
	if err != nil {
		return err
	}
	defer program.Close() //nolint:errcheck // the filter keeps it
	qdisc := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: ifindex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
	if err := netlink.QdiscAdd(qdisc); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return netlink.FilterReplace(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: ifindex, Parent: netlink.HANDLE_MIN_INGRESS, Priority: 1, Protocol: unix.ETH_P_ALL},
		Fd:          program.FD(), Name: "vlanworkers", DirectAction: true,
	})
}
