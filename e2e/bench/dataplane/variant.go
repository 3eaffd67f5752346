package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/vlandemux/vlandemux/e2e/bench/variants"
)

// variant is one way to bring frames from a trunk to workers.
type variant struct {
	name   string
	direct bool // needs no host
	tagged bool // takes tagged frames
	// optional says that the kernel or the machine may lack what it needs.
	optional bool
	// attach makes it run on a path, for that many clients.
	attach func(ctx context.Context, p *path, clients int) (*running, error)
}

// running is a variant on a path.
type running struct {
	*path
	variant              variant
	demux                *process // nil unless it is ours
	phys2virt, virt2phys *ebpf.Program
}

// start wires a path and runs the variant on it.
func (v variant) start(ctx context.Context, clients int) (_ *running, err error) {
	p, err := newPath(v.direct)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("starting variant %s: %w", v.name, err), p.Close())
		}
	}()
	if v.attach == nil {
		return &running{path: p, variant: v}, nil
	}
	r, err := v.attach(ctx, p, clients)
	if err != nil {
		return nil, err
	}
	r.path, r.variant = p, v
	return r, nil
}

func direct() variant { return variant{name: "direct", direct: true} }

func ours() variant { return oursWith("ours") }

// oursPeer is ours past the host's end of the worker's veth.
func oursPeer() variant { return oursWith("ours-peer", "--redirect", "peer") }

// oursEarly is ours with frames of unknown MACs dropped in the trunk's driver.
func oursEarly() variant { return oursWith("ours-early", "--early-drop", "xdp") }

func oursWith(name string, args ...string) variant {
	return variant{name: name, tagged: true, attach: func(ctx context.Context, p *path, clients int) (*running, error) {
		d, err := startDemux(ctx, p, clients, args...)
		if err != nil {
			return nil, err
		}
		return d.running(p)
	}}
}

// loaded is a variant of the bench's own programs, without a table.
func loaded(name string, attach func(p *path, objects *variants.ProgramsObjects) (*running, error)) variant {
	return variant{name: name, tagged: true, attach: func(_ context.Context, p *path, _ int) (*running, error) {
		objects, err := p.load(1)
		if err != nil {
			return nil, err
		}
		return attach(p, objects)
	}}
}

func limit() variant {
	return loaded("limit", func(p *path, objects *variants.ProgramsObjects) (*running, error) {
		return p.tcx(objects.LimitPhys2virt, objects.LimitVirt2phys)
	})
}

// limitGroup is the limit of a group frame: one copy.
func limitGroup() variant {
	return loaded("limit", func(p *path, objects *variants.ProgramsObjects) (*running, error) {
		return p.tcx(objects.LimitPhys2virt, objects.LimitGroup)
	})
}

// drop drops every frame: what is left is the sender's cost.
func drop() variant {
	return loaded("drop", func(p *path, objects *variants.ProgramsObjects) (*running, error) {
		return p.tcx(objects.Empty, objects.Empty)
	})
}

// peer is the limit with bpf_redirect_peer on the way to the worker.
func peer() variant {
	return loaded("redirect_peer", func(p *path, objects *variants.ProgramsObjects) (*running, error) {
		return p.tcx(objects.PeerPhys2virt, objects.LimitVirt2phys)
	})
}

// xdp is the limit by native XDP.
func xdp() variant {
	return loaded("xdp", func(p *path, objects *variants.ProgramsObjects) (*running, error) {
		far, err := p.virt.index(p.far)
		if err != nil {
			return nil, err
		}
		return &running{}, errors.Join(
			p.attachXDP(p.host, p.trunk, objects.XdpPhys2virt, link.XDPDriverMode),
			p.attachXDP(p.virt, far, objects.XdpPass, link.XDPDriverMode))
	})
}

func seed() variant {
	return variant{name: "seed", tagged: true, attach: func(_ context.Context, p *path, clients int) (*running, error) {
		objects, err := p.load(clients)
		if err != nil {
			return nil, err
		}
		keys, leaves := make([]uint64, clients), make([]variants.ProgramsSeedLeaf, clients)
		for i := range keys {
			address := clientMAC(i)
			for n, octet := range address {
				keys[i] |= uint64(octet) << (8 * n)
			}
			leaves[i].OutIfindex = uint32(p.worker)
		}
		if _, err := objects.SeedIngress.BatchUpdate(keys, leaves, nil); err != nil {
			return nil, fmt.Errorf("filling the seed's table: %w", err)
		}
		return p.tcx(objects.SeedPhys2virt, objects.SeedVirt2phys)
	}}
}

// load loads the bench's own programs; their maps are the path's.
func (p *path) load(clients int) (*variants.ProgramsObjects, error) {
	spec, err := variants.LoadPrograms()
	if err != nil {
		return nil, err
	}
	spec.Maps[variants.ProgramsMapSeedIngress].MaxEntries = uint32(clients)
	err = errors.Join(
		spec.Variables[variants.ProgramsVarTrunk].Set(uint32(p.trunk)),
		spec.Variables[variants.ProgramsVarWorker].Set(uint32(p.worker)),
		spec.Variables[variants.ProgramsVarTci].Set(clientVID(0)))
	if err != nil {
		return nil, err
	}
	objects := &variants.ProgramsObjects{}
	if err := spec.LoadAndAssign(objects, nil); err != nil {
		return nil, fmt.Errorf("loading the bench's programs: %w", err)
	}
	p.keep(objects)
	return objects, nil
}

// tcx runs the programs on trunk and worker.
func (p *path) tcx(phys2virt, virt2phys *ebpf.Program) (*running, error) {
	err := errors.Join(
		p.attach(p.host, p.trunk, phys2virt, ebpf.AttachTCXIngress),
		p.attach(p.host, p.worker, virt2phys, ebpf.AttachTCXIngress))
	return &running{phys2virt: phys2virt, virt2phys: virt2phys}, err
}

func (p *path) attach(ns *namespace, ifindex int, program *ebpf.Program, where ebpf.AttachType) error {
	return p.link(ns, ifindex, program, func() (link.Link, error) {
		return link.AttachTCX(link.TCXOptions{Interface: ifindex, Program: program, Attach: where})
	})
}

func (p *path) attachXDP(ns *namespace, ifindex int, program *ebpf.Program, mode link.XDPAttachFlags) error {
	return p.link(ns, ifindex, program, func() (link.Link, error) {
		return link.AttachXDP(link.XDPOptions{Program: program, Interface: ifindex, Flags: mode})
	})
}

// link keeps the link that attach makes in a namespace.
func (p *path) link(ns *namespace, ifindex int, program *ebpf.Program, attach func() (link.Link, error)) error {
	return ns.do(func() error {
		l, err := attach()
		if err != nil {
			return fmt.Errorf("attaching %v to interface %d: %w", program, ifindex, err)
		}
		p.keep(l)
		return nil
	})
}

// accessPort makes the client's interface one of a switch's port, for clients
// that have a stack.
func (p *path) accessPort() error {
	objects, err := p.load(1)
	if err != nil {
		return err
	}
	index, err := p.phys.index(clientEnd)
	if err != nil {
		return err
	}
	return errors.Join(
		p.attach(p.phys, index, objects.PortPush, ebpf.AttachTCXEgress),
		p.attach(p.phys, index, objects.PortPop, ebpf.AttachTCXIngress))
}
