package main

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/bpf/ethtool"
	"github.com/vlandemux/vlandemux/e2e/bench/variants"
)

// feeder stands for a NIC: its frames are pages that the kernel has already, and the driver of
// the trunk makes packets of them, 64 at a time. No socket is in between.
type feeder struct {
	from    *namespace
	program *ebpf.Program
	sent    *ebpf.Variable // frames
	times   *ebpf.Variable // when each slice began, in ns
	frame   []byte
}

// poll lets the driver of the interface that frames are fed to take them in batches, as with GRO.
func (r *running) poll() error {
	ns, name := r.host, trunkName
	if r.variant.direct {
		ns, name = r.virt, r.far
	}
	return ns.do(func() error {
		socket, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer unix.Close(socket) //nolint:errcheck // nothing was written
		if err := ethtool.Set(socket, name, unix.ETHTOOL_SGRO, 1); err != nil {
			return fmt.Errorf("turning GRO of %s on: %w", name, err)
		}
		return nil
	})
}

// feeder feeds from the client's end, until the path is closed.
func (r *running) feeder(f frames) (source, error) {
	spec, err := variants.LoadPrograms()
	if err != nil {
		return nil, err
	}
	to, err := r.phys.index(clientEnd)
	if err != nil {
		return nil, err
	}
	worker, client := workerMAC(), f.address(0)
	err = errors.Join(
		spec.Variables[variants.ProgramsVarFeedTo].Set(uint32(to)),
		spec.Variables[variants.ProgramsVarFeedDest].Set(append(worker[:], 0, 0)),
		spec.Variables[variants.ProgramsVarFeedSource].Set(client[0]),
		spec.Variables[variants.ProgramsVarFeedClients].Set(uint32(f.clients)),
		spec.Variables[variants.ProgramsVarFeedStride].Set(uint32(stride(f.clients))),
		spec.Variables[variants.ProgramsVarFeedNext].Set(uint32(f.first)),
		spec.Variables[variants.ProgramsVarFeedTagged].Set(f.tagged))
	if err != nil {
		return nil, err
	}
	var objects struct {
		Program *ebpf.Program  `ebpf:"feed"`
		Sent    *ebpf.Variable `ebpf:"feed_sent"`
		Times   *ebpf.Variable `ebpf:"feed_times"`
	}
	if err := spec.LoadAndAssign(&objects, nil); err != nil {
		return nil, fmt.Errorf("loading the program that feeds frames: %w", err)
	}
	r.keep(objects.Program)
	// The kernel knows a program that is attached. For others it patches its own code at each run, and waits for a grace
	// period of RCU before and after; an emulated processor which runs the code at that moment ends in a panic.
	aside, err := newNamespace()
	if err != nil {
		return nil, err
	}
	r.keep(aside)
	const loopback = 1 // ifindex
	if err := r.attachXDP(aside, loopback, objects.Program, link.XDPGenericMode); err != nil {
		return nil, err
	}
	return &feeder{from: r.phys, program: objects.Program, sent: objects.Sent, times: objects.Times, frame: f.frame()}, nil
}

// feeding is how many frames one measurement feeds.
const feeding = 1 << 16

// rate feeds on the thread's processor. The slices are as long as the sender's, by the program's own clock. The
// thread stays in the namespace of the client's end.
func (f *feeder) rate() (sent int, perSecond float64, err error) {
	options := ebpf.RunOptions{Data: f.frame, Repeat: feeding, Flags: unix.BPF_F_TEST_XDP_LIVE_FRAMES}
	if err := errors.Join(f.sent.Set(uint64(0)), unix.Setns(int(f.from.file.Fd()), unix.CLONE_NEWNET)); err != nil {
		return 0, 0, err
	}
	if _, err := f.program.Run(&options); err != nil {
		return 0, 0, fmt.Errorf("feeding frames (needs Linux 5.18): %w", err)
	}
	var count uint64 // more than there should be, after an interruption
	times := make([]uint64, feeding/(2*burst))
	if err := errors.Join(f.sent.Get(&count), f.times.Get(&times)); err != nil {
		return 0, 0, err
	}
	rates := make([]float64, len(times)-1)
	for i := range rates {
		rates[i] = 2 * burst * 1e9 / float64(times[i+1]-times[i])
	}
	return int(count), median(rates), nil
}
