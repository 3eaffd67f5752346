package demux

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"github.com/vlandemux/vlandemux/bpf/internal/tchook"
	"golang.org/x/sys/unix"
)

// Attachment is one interface that a program runs on.
type Attachment struct {
	Index int        // of the interface
	Mode  AttachMode // AttachTCX or AttachClsact
}

type attachment struct {
	tchook.Hook
	ifindex int
	role    bpfAttachRole
}

func (a *attachment) mode() AttachMode {
	if _, ok := a.Hook.(*tchook.Clsact); ok {
		return AttachClsact
	}
	return AttachTCX
}

// filterName is how a clsact filter is known to be ours.
func filterName(role bpfAttachRole) string {
	if role == bpfAttachRoleROLE_TRUNK {
		return "vlandemux/" + bpfProgPhys2virt
	}
	return "vlandemux/" + bpfProgVirt2phys
}

// AttachTrunk runs phys2virt on the trunk and returns how it is attached. It
// does nothing if it is already. Errors: [ErrUnknownInterface], [ErrWrongRole].
func (d *Demux) AttachTrunk(ifindex int) (mode AttachMode, err error) {
	err = d.change(func() error {
		mode, err = d.attach(ifindex, bpfAttachRoleROLE_TRUNK)
		return err
	})
	return mode, err
}

// AttachWorker runs virt2phys on the host end of a worker and returns how it is
// attached. Assigning a client to the worker does the same. Errors:
// [ErrUnknownInterface], [ErrWrongRole].
func (d *Demux) AttachWorker(ifindex int) (mode AttachMode, err error) {
	err = d.change(func() error {
		mode, err = d.attach(ifindex, bpfAttachRoleROLE_WORKER)
		return err
	})
	return mode, err
}

// DetachTrunk takes phys2virt off the trunk and forgets every location on it:
// frames to clients last seen there are dropped as unlearned. The trunk itself
// may be gone. Error: [ErrUnknownInterface] if it is not attached.
func (d *Demux) DetachTrunk(ifindex int) error {
	return d.change(func() error { return d.detachRole(ifindex, bpfAttachRoleROLE_TRUNK) })
}

// DetachWorker takes virt2phys off the worker and forgets its count of flooded
// frames. Assignments stay: frames still reach the worker, none comes back
// until it is attached again. The worker itself may be gone. Error:
// [ErrUnknownInterface] if it is not attached.
func (d *Demux) DetachWorker(ifindex int) error {
	return d.change(func() error { return d.detachRole(ifindex, bpfAttachRoleROLE_WORKER) })
}

// Trunks returns the attached trunks, by index.
func (d *Demux) Trunks() []Attachment { return d.list(bpfAttachRoleROLE_TRUNK) }

// Workers returns the attached workers, by index.
func (d *Demux) Workers() []Attachment { return d.list(bpfAttachRoleROLE_WORKER) }

func (d *Demux) list(role bpfAttachRole) []Attachment {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var found []Attachment
	for ifindex, a := range d.attached {
		if a.role == role {
			found = append(found, Attachment{Index: ifindex, Mode: a.mode()})
		}
	}
	slices.SortFunc(found, func(a, b Attachment) int { return cmp.Compare(a.Index, b.Index) })
	return found
}

func (d *Demux) program(role bpfAttachRole) *ebpf.Program {
	if role == bpfAttachRoleROLE_TRUNK {
		return d.objs.Phys2virt
	}
	return d.objs.Virt2phys
}

// checkInterface gives ErrUnknownInterface or ErrWrongRole where the interface
// cannot have the role.
func (d *Demux) checkInterface(ifindex int, role bpfAttachRole) error {
	if a := d.attached[ifindex]; a != nil && a.role != role {
		return fmt.Errorf("attaching interface %d: %w: an interface is a trunk or a worker", ifindex, ErrWrongRole)
	}
	_, err := d.net.LinkByIndex(ifindex)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing || errors.Is(err, unix.ENODEV) || ifindex <= 0 {
		return fmt.Errorf("attaching interface %d: %w in this network namespace", ifindex, ErrUnknownInterface)
	}
	if err != nil {
		return fmt.Errorf("looking up interface %d: %w", ifindex, err)
	}
	return nil
}

func (d *Demux) attach(ifindex int, role bpfAttachRole) (AttachMode, error) {
	if err := d.checkInterface(ifindex, role); err != nil {
		return "", err
	}
	if a := d.attached[ifindex]; a != nil {
		return a.mode(), nil
	}
	if err := d.prepare(ifindex, role); err != nil {
		return "", errors.Join(err, d.forget(ifindex, role))
	}
	a, err := d.attachNew(ifindex, role)
	if err != nil {
		return "", errors.Join(err, d.forget(ifindex, role))
	}
	d.attached[ifindex] = a
	if err := d.saveAttachment(a); err != nil {
		return "", errors.Join(err, a.Detach(), d.forget(ifindex, role))
	}
	return a.mode(), nil
}

// prepare makes the map entries that the program needs on the interface.
func (d *Demux) prepare(ifindex int, role bpfAttachRole) error {
	if role == bpfAttachRoleROLE_TRUNK {
		return d.preparePlaces(ifindex)
	}
	none := make([]bpfTally, ebpf.MustPossibleCPU())
	err := d.objs.WorkerFloods.Update(uint32(ifindex), none, ebpf.UpdateNoExist)
	if errors.Is(err, unix.E2BIG) {
		return fmt.Errorf("attaching worker %d: %d workers are attached, detach one: %w",
			ifindex, d.objs.WorkerFloods.MaxEntries(), err)
	}
	if err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
		return fmt.Errorf("making counters of worker %d: %w", ifindex, err)
	}
	return nil
}

// attachNew honours Options.Attach. The record for the next process is made
// before the program runs, where that program would outlive this process.
func (d *Demux) attachNew(ifindex int, role bpfAttachRole) (*attachment, error) {
	if d.opts.Attach != AttachClsact {
		pin := ""
		if d.pins != nil {
			pin = d.pins.link(ifindex)
		}
		tcx, err := tchook.AttachTCX(ifindex, d.program(role), pin)
		if err == nil {
			return &attachment{Hook: tcx, ifindex: ifindex, role: role}, nil
		}
		if d.opts.Attach == AttachTCX || !errors.Is(err, ebpf.ErrNotSupported) {
			return nil, fmt.Errorf("attaching to interface %d: %w", ifindex, err)
		}
	}
	filter, err := tchook.PrepareClsact(d.net, ifindex, filterName(role))
	if err != nil {
		return nil, fmt.Errorf("attaching to interface %d: %w", ifindex, err)
	}
	a := &attachment{Hook: filter, ifindex: ifindex, role: role}
	if err := d.saveAttachment(a); err != nil {
		return nil, errors.Join(err, filter.Detach())
	}
	if err := filter.Replace(d.program(role)); err != nil {
		return nil, errors.Join(fmt.Errorf("attaching to interface %d: %w", ifindex, err), filter.Detach())
	}
	return a, nil
}

// openAttachment gives tchook.ErrGone if the interface or its link is not there.
func (d *Demux) openAttachment(ifindex int, record bpfAttachment) (*attachment, error) {
	a := &attachment{ifindex: ifindex, role: record.Role}
	if record.Mode == bpfAttachModeMODE_CLSACT {
		_, err := d.net.LinkByIndex(ifindex)
		if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing || errors.Is(err, unix.ENODEV) {
			return nil, tchook.ErrGone
		}
		if err != nil {
			return nil, fmt.Errorf("looking up interface %d: %w", ifindex, err)
		}
		a.Hook = tchook.OpenClsact(d.net, ifindex, filterName(record.Role), record.OwnsQdisc != 0)
		return a, nil
	}
	if d.pins == nil {
		return nil, tchook.ErrGone
	}
	tcx, err := tchook.OpenTCX(d.pins.link(ifindex))
	if err != nil {
		return nil, err
	}
	a.Hook = tcx
	return a, nil
}

func (d *Demux) saveAttachment(a *attachment) error {
	record := bpfAttachment{Role: a.role, Mode: bpfAttachModeMODE_TCX}
	if filter, ok := a.Hook.(*tchook.Clsact); ok {
		record.Mode = bpfAttachModeMODE_CLSACT
		if filter.OwnsQdisc() {
			record.OwnsQdisc = 1
		}
	}
	if err := d.objs.Attachments.Put(uint32(a.ifindex), &record); err != nil {
		return fmt.Errorf("recording the attachment of interface %d: %w", a.ifindex, err)
	}
	return nil
}

func (d *Demux) detachRole(ifindex int, role bpfAttachRole) error {
	a := d.attached[ifindex]
	if a == nil || a.role != role {
		return fmt.Errorf("detaching interface %d: %w: it is not attached", ifindex, ErrUnknownInterface)
	}
	if err := a.Detach(); err != nil {
		return err
	}
	return d.forget(ifindex, role)
}

// detachAll carries on past failures.
func (d *Demux) detachAll() error {
	var errs []error
	for ifindex, a := range d.attached {
		errs = append(errs, d.detachRole(ifindex, a.role))
	}
	return errors.Join(errs...)
}
