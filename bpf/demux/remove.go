package demux

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"github.com/vlandemux/vlandemux/bpf/internal/tchook"
	"golang.org/x/sys/unix"
)

// RemovePins ends the dataplane whose pins are in the folder, with no process
// running: it detaches the links and the clsact filters and removes the maps
// and the folder. A Demux that is still there can only read from then on. Call
// it in the network namespace of the interfaces. Without a dataplane in the folder the
// error wraps [fs.ErrNotExist].
func RemovePins(path string) (err error) {
	p, err := openPins(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	unlock, err := p.lock()
	if err != nil {
		return err
	}
	defer unlock()
	set, err := p.current()
	if err != nil {
		return err
	}
	if set == nil {
		strays, err := p.removeStrays()
		if err == nil && strays {
			return p.remove()
		}
		return errors.Join(err, fmt.Errorf("looking for a dataplane in %s: %w", path, fs.ErrNotExist))
	}
	defer func() { err = errors.Join(err, set.close()) }()
	orphaned, err := p.orphaned(set)
	if err == nil && !orphaned {
		err = p.detach(set)
	}
	if err != nil {
		return err
	}
	return errors.Join(set.first().remove(), p.remove())
}

// detach takes off what the set and those before it have on interfaces.
func (p *pins) detach(set *pinSet) error {
	if err := set.check(&Options{}); err != nil {
		return fmt.Errorf("ending the dataplane in %s: %w", p.path, err)
	}
	net, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("opening netlink socket: %w", err)
	}
	defer net.Close()
	d := &Demux{net: net, pins: p}
	var devices []snapshotDevice
	for s := set; s != nil; s = s.former {
		snap, err := s.readDevices(d)
		if err != nil {
			return err
		}
		d.programs, devices = append(d.programs, snap.programs...), append(devices, snap.devices...)
		if err := s.disown(); err != nil {
			return err
		}
	}
	var errs []error
	for _, device := range devices {
		errs = append(errs, d.takeOff(&device))
	}
	return errors.Join(append(errs, d.sweepLinks())...)
}

// takeOff takes a program off, or the qdisc that a process had made for it when it was killed.
func (d *Demux) takeOff(from *snapshotDevice) error {
	ifindex := int(from.record.Ifindex)
	hook, err := d.hookOpen(&device{name: from.name, role: from.record.Role}, from.record)
	if !errors.Is(err, tchook.ErrGone) {
		if err == nil {
			err = hook.Detach()
		}
		return err
	}
	if from.record.OwnsQdisc == 0 || ifindex == 0 {
		return nil
	}
	link, err := d.net.LinkByIndex(ifindex)
	if missing(err) || err == nil && link.Attrs().Name != from.name { // another one has the index now
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking up interface %s: %w", from.name, err)
	}
	return tchook.OpenClsact(d.net, ifindex, filterName(from.record.Role), true, d.isOurs).RemoveQdisc()
}

// orphaned tells whether the network namespace of a dataplane has gone. A program of it that
// still is on an interface would tell that the namespace is there.
func (p *pins) orphaned(set *pinSet) (bool, error) {
	here, err := netnsCookie()
	if err != nil || set.layout == 1 || set.owner.Netns == here {
		return false, err
	}
	filters := false
	for key, record := range entries[deviceKey, bpfDevice](set.maps[bpfMapDevices], "the trunks and workers", &err) {
		ifindex := int(record.Ifindex)
		if record.Mode == bpfAttachModeMODE_CLSACT && ifindex != 0 {
			filters = true
		}
		if ifindex == 0 {
			continue
		}
		kinds := map[int]tchook.Kind{ifindex | earlyNumber: tchook.NativeXDP()}
		if record.Mode == bpfAttachModeMODE_TCX {
			kinds[ifindex] = tchook.TCX()
		}
		for number, kind := range kinds {
			hook, err := kind.Open(p.link(number), ifindex, nil)
			switch {
			case errors.Is(err, tchook.ErrGone):
			case err != nil:
				return false, err
			default:
				return false, errors.Join(fmt.Errorf("detaching from %s: %w, which is still there: detach in that one", nameOf(key), ErrOtherNamespace), hook.Close())
			}
		}
	}
	if err != nil {
		return false, err
	}
	// A clsact filter holds its program, which nothing else does.
	for _, id := range programIDs(&set.owner) {
		program, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
		switch {
		case !filters || errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return false, fmt.Errorf("looking whether program %d is still there (it takes CAP_SYS_ADMIN): %w: %w", id, ErrOtherNamespace, err)
		default:
			return false, errors.Join(fmt.Errorf("program %d: %w, where it still runs: detach in that one", id, ErrOtherNamespace), program.Close())
		}
	}
	return true, nil
}

// removeStrays detaches the links of a vlandemux that are pinned here although its maps are not: somebody has
// removed these, and nobody can take it over any more. It reports whether there were any.
func (p *pins) removeStrays() (found bool, err error) {
	var errs []error
	found, err = p.takeOffLinks(func(id ebpf.ProgramID) bool {
		is, err := isDemux(id)
		errs = append(errs, err)
		return is
	}, keepNone)
	return found, errors.Join(append(errs, err)...)
}

func keepNone(int, bool) bool { return false }
