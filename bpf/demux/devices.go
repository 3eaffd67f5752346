package demux

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/vlandemux/vlandemux/bpf/internal/tchook"
	"golang.org/x/sys/unix"
)

// device is a trunk or a worker: an interface with a name and a life. Whoever has
// its name or its index after it is another one.
type device struct {
	name    string
	number  uint32 // in its role; of a worker from 1
	role    bpfAttachRole
	forced  bool
	ifindex int         // 0 while it is not there
	hook    tchook.Hook // nil while it is not there
	down    bool        // it is there and not up: frames for it are dropped
	mtu     int         // see leastMTU
	link    Link        // as it was last seen
	limited bool        // it has a limit in the maps
	limit   uint32

	// Of workers.
	first       uint32
	clients     int
	floodedBase bpfTally
	isDefault   bool // it gets the frames of unknown MACs
	peer        bool // its frames go to the other end of its veth, which is in another network namespace

	// Of trunks.
	early     *tchook.Link // early_drop in its driver, nil if it is not there or that is not asked for
	allows    int          // how many clients may be at a place of it, counted by place
	namedOnly bool         // it was detached, and is remembered for these alone
}

func (a *device) flags() (flags uint32) {
	for flag, is := range map[uint32]bool{bpfDeviceForced: a.forced, bpfDeviceDefaultWorker: a.isDefault, bpfDeviceNamedOnly: a.namedOnly} {
		if is {
			flags |= flag
		}
	}
	return flags
}

func (a *device) setFlags(flags uint32) {
	a.forced, a.isDefault, a.namedOnly = flags&bpfDeviceForced != 0, flags&bpfDeviceDefaultWorker != 0, flags&bpfDeviceNamedOnly != 0
}

// Attachment is one trunk or worker.
type Attachment struct {
	Name  string
	Index int        // of the interface, 0 while there is none
	Mode  AttachMode // AttachTCX or AttachClsact; "" while there is none
	Down  bool       // the interface is not up
	MTU   int        // in octets; of a veth, the less of its two ends'
	Peer  bool       // frames for the worker do not cross the interface, see RedirectPeer
	// EarlyDrop is that frames of unknown MACs are dropped in the trunk's driver, see EarlyDropXDP.
	EarlyDrop bool
}

func (a *device) mode() AttachMode {
	switch a.hook.(type) {
	case *tchook.Clsact:
		return AttachClsact
	case *tchook.Link:
		return AttachTCX
	}
	return ""
}

// target is where frames of the worker go, as in struct client.
func (a *device) target() uint32 {
	switch {
	case a.down || a.ifindex == 0:
		return 0
	case a.peer:
		return uint32(a.ifindex) | bpfWorkerPeer
	}
	return uint32(a.ifindex)
}

// As in types.h.
const (
	maxTrunks                = 256
	bpfOptionPassUntagged    = 1
	bpfOptionPassUnknown     = 2
	bpfOptionUnknownWorker   = 4
	bpfOptionMigrated        = 8
	bpfOptionRedirectPeer    = 16
	bpfOptionEarlyDrop       = 32
	bpfOptionAgeShift        = 8
	bpfOptionAgeMask         = 1<<20 - 1
	bpfOptionGroupLimitShift = 32
	bpfDeviceForced          = 1
	bpfDeviceDefaultWorker   = 2
	bpfDeviceNamedOnly       = 4
	bpfWorkerPeer            = 1 << 31
	bpfUnknownPassed         = 30
	bpfUnknownForwarded      = 31
)

type deviceKey = [unix.IFNAMSIZ]byte

func (a *device) key() (key deviceKey) {
	copy(key[:], a.name)
	return key
}

// Trunks returns the trunks, by name.
func (d *Demux) Trunks() []Attachment { return d.list(bpfAttachRoleROLE_TRUNK) }

// Workers returns the workers, by name.
func (d *Demux) Workers() []Attachment { return d.list(bpfAttachRoleROLE_WORKER) }

func (d *Demux) list(role bpfAttachRole) []Attachment {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var found []Attachment
	for _, a := range d.devices {
		if a.role == role && !a.namedOnly {
			found = append(found, Attachment{Name: a.name, Index: a.ifindex, Mode: a.mode(), Down: a.down, MTU: a.mtu, Peer: a.peer, EarlyDrop: a.early != nil})
		}
	}
	slices.SortFunc(found, func(a, b Attachment) int { return cmp.Compare(a.Name, b.Name) })
	return found
}

// device returns the trunk or worker of that name, and makes it if there is none.
// It is not attached then.
func (d *Demux) device(name string, role bpfAttachRole) (*device, error) {
	if a := d.devices[name]; a != nil {
		if a.role != role {
			return nil, fmt.Errorf("attaching %s: %w: an interface is a trunk or a worker", name, ErrWrongRole)
		}
		return a, nil
	}
	if name == "" || len(name) >= unix.IFNAMSIZ {
		return nil, fmt.Errorf("attaching %q: %w: a name has 1 to %d octets", name, ErrUnknownInterface, unix.IFNAMSIZ-1)
	}
	number, err := d.number(role)
	if err != nil {
		return nil, fmt.Errorf("attaching %s: %w", name, err)
	}
	a := &device{name: name, number: number, role: role, first: noSlot}
	if err := d.know(a); err != nil {
		return nil, err
	}
	return a, nil
}

// number takes one that no device of the role has.
func (d *Demux) number(role bpfAttachRole) (uint32, error) {
	numbers := &d.workerNumbers
	if role == bpfAttachRoleROLE_TRUNK {
		numbers = &d.trunkNumbers
	}
	for n, used := range *numbers {
		if !used && (n > 0 || role == bpfAttachRoleROLE_TRUNK) {
			return uint32(n), nil
		}
	}
	return 0, fmt.Errorf("there are %d of its kind, detach one", len(*numbers))
}

// know enters the device in the tables of this process and in the maps.
func (d *Demux) know(a *device) error {
	if err := d.save(a); err != nil {
		return err
	}
	d.devices[a.name] = a
	if a.role == bpfAttachRoleROLE_TRUNK {
		d.trunkNumbers[a.number] = true
		d.settings[0].Trunks = max(d.settings[0].Trunks, uint64(a.number+1))
	} else {
		d.workerNumbers[a.number] = true
	}
	return nil
}

func (d *Demux) save(a *device) error {
	record := bpfDevice{Ifindex: uint32(a.ifindex), Number: a.number, Role: a.role, Flags: a.flags(), FloodedBase: a.floodedBase}
	switch hook := a.hook.(type) {
	case *tchook.Link:
		record.Mode = bpfAttachModeMODE_TCX
	case *tchook.Clsact:
		record.Mode = bpfAttachModeMODE_CLSACT
		if hook.OwnsQdisc() {
			record.OwnsQdisc = 1
		}
	}
	if err := d.objs.Devices.Put(a.key(), &record); err != nil {
		return fmt.Errorf("recording interface %s: %w", a.name, err)
	}
	return nil
}

// enter tells the programs that the device has the index now.
func (d *Demux) enter(a *device, ifindex int) error {
	a.ifindex = ifindex
	d.byIndex[ifindex] = a
	d.ran = true
	numbers := d.objs.WorkerNumbers
	if a.role == bpfAttachRoleROLE_TRUNK {
		if err := d.objs.TrunkIndexes.Put(a.number, uint32(ifindex)); err != nil {
			return fmt.Errorf("recording the index of trunk %s: %w", a.name, err)
		}
		numbers = d.objs.TrunkNumbers
	}
	if err := numbers.Put(uint32(ifindex), a.number); err != nil {
		return fmt.Errorf("recording the index of %s: %w", a.name, err)
	}
	return nil
}

// lose makes the device one that is not there: the opposite of attach. Its clients
// have no worker then, or no location. The interface may be gone, or a stranger's.
func (d *Demux) lose(a *device) error {
	errs := []error{a.detachEarly()}
	if a.ifindex == 0 {
		return errs[0]
	}
	ifindex := a.ifindex
	errs = append(errs, d.unlimit(a))
	d.publishLimits()
	a.ifindex, a.down, a.mtu, a.peer = 0, false, 0, false
	if a.role == bpfAttachRoleROLE_WORKER {
		d.point(a)
	}
	if a.hook != nil {
		errs = append(errs, a.hook.Detach())
		a.hook = nil
	}
	numbers := d.objs.WorkerNumbers
	if a.role == bpfAttachRoleROLE_TRUNK {
		numbers = d.objs.TrunkNumbers
		errs = append(errs, d.objs.TrunkIndexes.Put(a.number, uint32(0)))
	}
	errs = append(errs, erase(numbers, uint32(ifindex), "forgetting the index of %s", a.name))
	if a.role == bpfAttachRoleROLE_TRUNK {
		errs = append(errs, d.wait(), d.clearTrunk(ifindex))
	}
	delete(d.byIndex, ifindex)
	return errors.Join(append(errs, d.save(a))...)
}

// loseAll carries on past failures.
func (d *Demux) loseAll() error {
	var errs []error
	for _, a := range d.devices {
		errs = append(errs, d.lose(a))
	}
	return errors.Join(errs...)
}

// forget removes devices without clients: their names are anyone's then. A trunk at which clients may be
// is remembered, and is no trunk any more.
func (d *Demux) forget(all ...*device) error {
	if len(all) == 0 {
		return nil
	}
	waited, err := d.loseFor(all)
	errs := []error{err}
	if !waited {
		errs = append(errs, d.wait())
	}
	for _, a := range all {
		errs = append(errs, d.drop(a))
	}
	return errors.Join(errs...)
}

// loseFor loses devices that are to be dropped once no program runs that may use them. It reports whether there
// is none by now: the kernel waits for them when it takes a TCX link off, and what else waits is time lost.
func (d *Demux) loseFor(all []*device) (waited bool, err error) {
	var errs []error
	waited = len(all) > 0
	for _, a := range all {
		tcx, is := a.hook.(*tchook.Link)
		there := false
		if is {
			there, err = tcx.There()
			errs = append(errs, err)
		}
		waited = waited && there
		errs = append(errs, d.lose(a))
	}
	err = errors.Join(errs...)
	return waited && err == nil, err
}

func (d *Demux) drop(a *device) error {
	var errs []error
	for _, other := range d.devices {
		switch a.role {
		case other.role:
		case bpfAttachRoleROLE_TRUNK:
			errs = append(errs, d.forgetPlaces(other, a))
		default:
			errs = append(errs, d.forgetPlaces(a, other))
		}
	}
	if a.allows > 0 { // nobody else may get its number
		a.namedOnly = true
		return errors.Join(append(errs, d.save(a))...)
	}
	if a.role == bpfAttachRoleROLE_TRUNK {
		d.trunkNumbers[a.number] = false
	} else {
		d.workerNumbers[a.number] = false
		none := make([]bpfTally, ebpf.MustPossibleCPU())
		errs = append(errs, d.objs.WorkerFloods.Put(a.number, none))
	}
	delete(d.devices, a.name)
	return errors.Join(append(errs, erase(d.objs.Devices, a.key(), "forgetting interface %s", a.name))...)
}

// rename follows an interface that has another name now. The record under the old
// name stays if another device is renamed to it.
func (d *Demux) rename(a *device, name string, renamed map[*device]string) error {
	former, old := a.name, a.key()
	a.name = name
	d.devices[name] = a
	if err := d.save(a); err != nil {
		return err
	}
	for _, taken := range renamed {
		if taken == former {
			return nil
		}
	}
	return erase(d.objs.Devices, old, "forgetting the former name of interface %s", name)
}

func nameOf(key deviceKey) string { return string(bytes.TrimRight(key[:], "\x00")) }
