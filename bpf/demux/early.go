package demux

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vlandemux/vlandemux/bpf/internal/tchook"
	"golang.org/x/sys/unix"
)

// earlyNumber sets the pin of a trunk's XDP link apart from that of its TCX link. Earlier builds know nothing of it: the one that
// takes over finds the pin of an interface that is not there, and takes the link off.
const earlyNumber = 1 << 30

const xdpPass = 2 // XDP_PASS

func (d *Demux) earlyPin(ifindex int) string {
	if d.pins == nil {
		return ""
	}
	return d.pins.link(ifindex | earlyNumber)
}

func (d *Demux) dropsEarly(a *device) bool {
	return d.opts.EarlyDrop == EarlyDropXDP && a.role == bpfAttachRoleROLE_TRUNK
}

// attachEarly runs early_drop in the driver of a trunk, where the options ask for it. A link of ours that is pinned
// already stays as it is.
func (d *Demux) attachEarly(a *device, ifindex int) error {
	if !d.dropsEarly(a) {
		return nil
	}
	return d.openOrAttachEarly(a, ifindex, d.objs.EarlyDrop, d.earlyPin(ifindex))
}

func (d *Demux) openOrAttachEarly(a *device, ifindex int, program *ebpf.Program, pin string) error {
	var err error
	if there := d.earlyPin(ifindex); there != "" {
		if ours, _ := tchook.PinIsOurs(there, d.isOurs); ours {
			if a.early, err = tchook.NativeXDP().Open(there, ifindex, d.isOurs); !errors.Is(err, tchook.ErrGone) {
				return err
			}
		}
	}
	a.early, err = tchook.NativeXDP().Attach(ifindex, program, pin, d.isOurs)
	return explainEarly(a, err)
}

// openEarly is attachEarly for all trunks that are there, before anything is taken over: where one cannot have it, the earlier
// dataplane goes on. What is new is not pinned yet, so that it goes with this process, and passes everything: what it dropped
// would be counted in maps that may go with the process as well.
func (d *Demux) openEarly(records map[*device]bpfDevice) (err error) {
	if d.opts.EarlyDrop != EarlyDropXDP {
		return nil
	}
	pass, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "pass", Type: ebpf.XDP, AttachType: ebpf.AttachXDP, Flags: unix.BPF_F_XDP_HAS_FRAGS, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()}})
	if err != nil {
		return fmt.Errorf("loading a program that passes everything, to see which trunks take one in their driver: %w", err)
	}
	defer func() { err = errors.Join(err, pass.Close()) }() // links hold it
	for a, record := range records {
		if !d.dropsEarly(a) || record.Ifindex == 0 {
			continue
		}
		link, err := d.net.LinkByIndex(int(record.Ifindex))
		if err != nil || link.Attrs().Name != a.name {
			continue // who that is turns out later
		}
		if err := d.openOrAttachEarly(a, int(record.Ifindex), pass, ""); err != nil {
			return err
		}
	}
	return nil
}

// takeOverEarly puts our program in the driver of a trunk that was taken over. It is pinned with that one alone: the next process
// would not know another one for ours.
func (d *Demux) takeOverEarly(a *device) error {
	if a.early == nil {
		return d.attachEarly(a, a.ifindex)
	}
	if err := a.early.Replace(d.objs.EarlyDrop); err != nil {
		return err
	}
	return a.early.Pin(d.earlyPin(a.ifindex))
}

func (a *device) detachEarly() error {
	if a.early == nil {
		return nil
	}
	err := a.early.Detach()
	a.early = nil
	return err
}

// explainEarly says what can be done about an error of the kernel or the driver.
func explainEarly(a *device, err error) error {
	const without = "give --early-drop off, and they are dropped at tc"
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("dropping unknown MACs in the driver of %s: %w: it has no native XDP: %s", a.name, err, without)
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
		return fmt.Errorf("dropping unknown MACs in the driver of %s: %w: another XDP program is on it, see `ip link show %s`: take that off, or %s", a.name, err, a.name, without)
	}
	return fmt.Errorf("dropping unknown MACs in the driver of %s: %w: if it is the driver that refuses it, as with large receive offload, few queues or a large MTU: %s", a.name, err, without)
}
