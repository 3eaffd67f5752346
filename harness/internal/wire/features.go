package wire

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const no8021Q = "this kernel has no 8021q: load it on the machine that runs Docker (sudo modprobe 8021q), or use the tc switch (VLANDEMUX_SWITCH=tc)"

const noFiltering = "this kernel has no VLAN-filtering bridge, or not what goes with it: it needs CONFIG_BRIDGE_VLAN_FILTERING, which no module adds, and flower and its actions, " +
	"which may have to be loaded on the machine that runs Docker (sudo modprobe -a sch_ingress cls_flower act_vlan act_mirred act_gact); " +
	"or use another switch (VLANDEMUX_SWITCH=tc)"

// ProbeFeatures tries in a scratch network namespace, by making one of each,
// what the kernel offers the lab. Making a link also loads its module where the
// machine allows that. Features that are missing are not an error; not being
// able to try is.
func ProbeFeatures(ctx context.Context) (f Features, err error) {
	if f.Kernel, err = kernelRelease(); err != nil {
		return f, err
	}
	ns, err := scratchNamespace("feature probing")
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, ns.close()) }()
	p := prober{ns: ns}
	for _, probe := range []struct {
		reason *string
		try    func() error
		advice string
	}{
		{&f.Veth, p.veth, "this kernel has no veth: load it on the machine that runs Docker (sudo modprobe veth)"},
		{&f.VLAN8021Q, p.vlan, no8021Q},
		{&f.Bridge, p.bridge, "this kernel has no bridge: load it on the machine that runs Docker (sudo modprobe bridge), or use the tc switch (VLANDEMUX_SWITCH=tc)"},
		{&f.VLANFiltering, func() error { return p.filtering(ctx) }, noFiltering},
		{&f.BPF, p.bpf, "this kernel has no BPF programs of type sched_cls: it needs CONFIG_BPF_SYSCALL and CONFIG_NET_CLS_ACT, and the host container CAP_SYS_ADMIN and CAP_NET_ADMIN"},
		{&f.TCX, p.tcx, "this kernel has no TCX, which came with Linux 6.6: clsact is used instead"},
		{&f.Clsact, p.clsact, "this kernel has no clsact: load it on the machine that runs Docker (sudo modprobe -a sch_ingress cls_bpf)"},
		{&f.BPFFS, bpffs, "this kernel has no bpf filesystem: it needs CONFIG_BPF_SYSCALL"},
	} {
		if err := ctx.Err(); err != nil {
			return f, fmt.Errorf("probing the kernel's features: %w", err)
		}
		err := probe.try()
		switch {
		case err == nil:
		case lacking(err):
			*probe.reason = fmt.Sprintf("%s (%v)", probe.advice, err)
		case errors.Is(err, os.ErrPermission):
			*probe.reason = fmt.Sprintf("not permitted here: the host container needs CAP_NET_ADMIN and CAP_SYS_ADMIN, and a daemon that may give them (%v)", err)
		default:
			*probe.reason = err.Error()
		}
	}
	return f, errors.Join(p.close()...)
}

// errNotTried is why a feature that needs another one was not tried.
var errNotTried = errors.New("not tried, for lack of")

// lacking reports whether an error means that the kernel does not know what it
// was asked for, as opposed to refusing or failing.
func lacking(err error) bool {
	for _, e := range []error{syscall.EOPNOTSUPP, syscall.EPROTONOSUPPORT, syscall.EAFNOSUPPORT, syscall.ENOSYS, syscall.ENOENT, ebpf.ErrNotSupported, link.ErrNotSupported} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func kernelRelease() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", fmt.Errorf("asking for the kernel's release: %w", err)
	}
	return unix.ByteSliceToString(u.Release[:]), nil
}

// prober tries features in a scratch namespace; later ones use what earlier
// ones made.
type prober struct {
	ns      *namespace
	index   int // of a veth; 0 if there is none
	program *ebpf.Program
}

func (p *prober) close() []error {
	if p.program == nil {
		return nil
	}
	return []error{p.program.Close()}
}

func (p *prober) veth() error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "probe0"
	veth := netlink.NewVeth(attrs)
	veth.PeerName = "probe1"
	if err := p.ns.handle.LinkAdd(veth); err != nil {
		return fmt.Errorf("making a veth pair: %w", err)
	}
	var err error
	p.index, err = p.ns.index(attrs.Name)
	return err
}

func (p *prober) needVeth(what string) error {
	if p.index == 0 {
		return fmt.Errorf("%s: %w veth", what, errNotTried)
	}
	return nil
}

func (p *prober) vlan() error {
	if err := p.needVeth("making a VLAN subinterface"); err != nil {
		return err
	}
	for i, protocol := range []uint16{Protocol8021Q, Protocol8021AD} {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = fmt.Sprintf("probe0.%d", i)
		attrs.ParentIndex = p.index
		vlan := &netlink.Vlan{LinkAttrs: attrs, VlanId: 2, VlanProtocol: netlink.VlanProtocol(protocol)}
		if err := p.ns.handle.LinkAdd(vlan); err != nil {
			return fmt.Errorf("making a subinterface of %v: %w", VLAN{protocol, 2}, err)
		}
	}
	return nil
}

func (p *prober) bridge() error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "probebr0"
	if err := p.ns.handle.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		return fmt.Errorf("making a bridge: %w", err)
	}
	return nil
}

// filtering makes a small switch of the kind. Its one place needs every rule of
// tc that there is.
func (p *prober) filtering(ctx context.Context) error {
	if err := p.needVeth("making a VLAN-filtering bridge"); err != nil {
		return err
	}
	macs := newMACs(&Plan{})
	ends := pair{ns: p.ns, name: "probe2", mac: macs.next(), farNS: p.ns, farName: "probe3", farMAC: macs.next(), mtu: DefaultMTU}
	if err := makePair(&ends); err != nil {
		return err
	}
	s := newFilteringSwitch(p.ns, 0, macs, DefaultMTU)
	if err := s.addTrunk(ctx, 0, ends.index); err != nil {
		return err
	}
	if err := s.addPort(ctx, ends.farIndex, 0, VLAN{Protocol8021AD, 2}); err != nil {
		return err
	}
	return awaitReaders()
}

func (p *prober) bpf() error {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "probe", Type: ebpf.SchedCLS, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return fmt.Errorf("loading a BPF program: %w", err)
	}
	p.program = program
	return nil
}

func (p *prober) needProgram(what string) error {
	if p.program == nil {
		return fmt.Errorf("%s: %w BPF", what, errNotTried)
	}
	return p.needVeth(what)
}

func (p *prober) tcx() error {
	if err := p.needProgram("attaching a TCX link"); err != nil {
		return err
	}
	return p.ns.do(func() error {
		l, err := link.AttachTCX(link.TCXOptions{Interface: p.index, Program: p.program, Attach: ebpf.AttachTCXIngress})
		if err != nil {
			return fmt.Errorf("attaching a TCX link: %w", err)
		}
		return l.Close()
	})
}

func (p *prober) clsact() error {
	if err := p.needProgram("attaching a filter to clsact"); err != nil {
		return err
	}
	err := p.ns.handle.QdiscAdd(&netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: p.index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
		QdiscType:  "clsact",
	})
	if err != nil {
		return fmt.Errorf("making a clsact qdisc: %w", err)
	}
	err = p.ns.handle.FilterAdd(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: p.index, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Priority: 1, Protocol: unix.ETH_P_ALL,
		},
		Fd: p.program.FD(), Name: "probe", DirectAction: true,
	})
	if err != nil {
		return fmt.Errorf("attaching a filter to clsact: %w", err)
	}
	return nil
}

// bpffs looks whether the kernel knows the filesystem; mounting it is for
// those who need it.
func bpffs() error {
	list, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return fmt.Errorf("reading the kernel's filesystems: %w", err)
	}
	for line := range strings.Lines(string(list)) {
		if f := strings.Fields(line); len(f) > 0 && f[len(f)-1] == "bpf" {
			return nil
		}
	}
	return fmt.Errorf("looking for bpf in /proc/filesystems: %w", ebpf.ErrNotSupported)
}
