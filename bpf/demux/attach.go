package demux

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/vlandemux/vlandemux/bpf/internal/tchook"
)

// filterName is what people see of a clsact filter. It is not how ours are known.
func filterName(role bpfAttachRole) string {
	if role == bpfAttachRoleROLE_TRUNK {
		return "vlandemux/" + bpfProgPhys2virt
	}
	return "vlandemux/" + bpfProgVirt2phys
}

// AttachTrunk runs phys2virt on the interface of that name and remembers it as a
// trunk. It does nothing if it is one already. With force, an
// interface that looks like one of the host's own is taken too. Errors: [ErrUnknownInterface],
// [ErrWrongRole], [ErrServed], [ErrUnfit].
func (d *Demux) AttachTrunk(name string, force bool) (AttachMode, error) {
	return d.attachNamed(name, bpfAttachRoleROLE_TRUNK, force)
}

// AttachWorker runs virt2phys on the host end of a worker and remembers it.
// Assigning a client to the worker does the same. Errors as AttachTrunk.
func (d *Demux) AttachWorker(name string, force bool) (AttachMode, error) {
	return d.attachNamed(name, bpfAttachRoleROLE_WORKER, force)
}

func (d *Demux) attachNamed(name string, role bpfAttachRole, force bool) (mode AttachMode, err error) {
	err = d.change(func() error {
		known := d.devices[name] != nil && !d.devices[name].namedOnly
		a, err := d.device(name, role)
		if err != nil {
			return err
		}
		a.namedOnly = false
		a.forced = a.forced || force
		link, err := d.linkByName(name)
		switch {
		case err != nil:
		case a.ifindex != link.Index:
			err = d.attach(a, link)
		default:
			_, err = d.restoreHook(a)
		}
		if err != nil && !known {
			err = errors.Join(err, d.forget(a))
		}
		mode = a.mode()
		return err
	})
	return mode, err
}

// Expect remembers a trunk or worker that is not there: it is attached when an
// interface of that name comes, see [Demux.Reconcile].
func (d *Demux) Expect(name string, trunk, force bool) error {
	role := bpfAttachRoleROLE_WORKER
	if trunk {
		role = bpfAttachRoleROLE_TRUNK
	}
	return d.change(func() error {
		a, err := d.device(name, role)
		if err == nil && (force && !a.forced || a.namedOnly) {
			a.forced, a.namedOnly = a.forced || force, false
			err = d.save(a)
		}
		return err
	})
}

// DetachTrunk takes phys2virt off the trunk and forgets it, with every location on
// it: frames to clients last seen there are dropped as unlearned. Error:
// [ErrUnknownInterface] if it is no trunk.
func (d *Demux) DetachTrunk(name string) error {
	return d.change(func() error {
		a := d.devices[name]
		if a == nil || a.role != bpfAttachRoleROLE_TRUNK || a.namedOnly {
			return fmt.Errorf("detaching %s: %w: it is no trunk here", name, ErrUnknownInterface)
		}
		return d.forget(a)
	})
}

// DetachWorker takes virt2phys off the worker, unassigns its clients and forgets it
// with its count of flooded frames. Error: [ErrUnknownInterface] if it is no worker.
func (d *Demux) DetachWorker(name string) error {
	return d.change(func() error {
		a := d.devices[name]
		if a == nil || a.role != bpfAttachRoleROLE_WORKER {
			return fmt.Errorf("detaching %s: %w: it is no worker here", name, ErrUnknownInterface)
		}
		if slots := d.slotsOf(a); len(slots) > 0 {
			return d.removeAll(slots, a)
		}
		return d.forget(a)
	})
}

func (d *Demux) program(role bpfAttachRole) *ebpf.Program {
	if role == bpfAttachRoleROLE_TRUNK {
		return d.objs.Phys2virt
	}
	return d.objs.Virt2phys
}

// attach puts the device's program on the link, which has its name, and gives its
// clients their worker. On an error nothing is attached.
func (d *Demux) attach(a *device, link *Link) error {
	if err := d.checkLink(a, link); err != nil {
		return err
	}
	if err := d.lose(a); err != nil {
		return err
	}
	if err := d.attachEarly(a, link.Index); err != nil {
		return err
	}
	hook, err := d.hookNew(a, link.Index, false)
	if err == nil {
		a.hook = hook
		err = d.enter(a, link.Index)
	}
	if err == nil {
		err = d.save(a)
	}
	if err != nil {
		return errors.Join(err, d.lose(a))
	}
	if err := d.note(a, link); err != nil {
		return errors.Join(err, d.lose(a))
	}
	d.publishLimits()
	if a.role == bpfAttachRoleROLE_TRUNK {
		return d.expectOn(a)
	}
	d.point(a)
	return nil
}

// hookNew honours Options.Attach. The record for the next process is made
// before the program runs, where that program would outlive this process. ownsQdisc says
// that a clsact qdisc which is there is ours.
func (d *Demux) hookNew(a *device, ifindex int, ownsQdisc bool) (tchook.Hook, error) {
	if d.opts.Attach != AttachClsact {
		pin := ""
		if d.pins != nil {
			pin = d.pins.link(ifindex)
		}
		tcx, err := tchook.TCX().Attach(ifindex, d.program(a.role), pin, d.isOurs)
		if err == nil {
			return tcx, nil
		}
		if d.opts.Attach == AttachTCX || !errors.Is(err, ebpf.ErrNotSupported) {
			return nil, fmt.Errorf("attaching to %s: %w", a.name, err)
		}
	}
	filter, err := tchook.PrepareClsact(d.net, ifindex, filterName(a.role), d.isOurs, ownsQdisc, func(filter *tchook.Clsact) error {
		record := *a
		record.ifindex, record.hook = ifindex, filter
		return d.save(&record)
	})
	if err != nil {
		return nil, fmt.Errorf("attaching to %s: %w", a.name, err)
	}
	if err := filter.Replace(d.program(a.role)); err != nil {
		return nil, errors.Join(fmt.Errorf("attaching to %s: %w", a.name, err), filter.RemoveQdisc())
	}
	return filter, nil
}

// restoreHook runs the device's program again where somebody has taken it off, and
// reports whether it had to.
func (d *Demux) restoreHook(a *device) (bool, error) {
	restored, err := a.hook.Restore(d.program(a.role))
	if a.early != nil {
		again, earlyErr := a.early.Restore(d.objs.EarlyDrop)
		restored, err = restored || again, errors.Join(err, explainEarly(a, earlyErr))
	}
	if !restored && err == nil {
		return false, nil
	}
	return restored, errors.Join(err, d.save(a))
}

// hookOpen gives tchook.ErrGone if the interface or its link is not there, or is
// another one by now.
func (d *Demux) hookOpen(a *device, record bpfDevice) (tchook.Hook, error) {
	ifindex := int(record.Ifindex)
	switch {
	case ifindex == 0:
		return nil, tchook.ErrGone
	case record.Mode == bpfAttachModeMODE_CLSACT:
		filter := tchook.OpenClsact(d.net, ifindex, filterName(a.role), record.OwnsQdisc != 0, d.isOurs)
		there, err := filter.There()
		if err != nil {
			return nil, err
		}
		if !there {
			return nil, tchook.ErrGone
		}
		return filter, nil
	case d.pins == nil:
		return nil, tchook.ErrGone
	}
	return tchook.TCX().Open(d.pins.link(ifindex), ifindex, d.isOurs)
}
