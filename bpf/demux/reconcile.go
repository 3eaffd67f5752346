package demux

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
)

// Change says what became of a trunk or worker.
type Change struct {
	Name string
	What string // a clause: "attached", "gone", "renamed from w0"
	Err  error  // it could not be done; it is tried again when the interface changes
}

const takenOff = "attached again: somebody had taken its program off"

// Reconcile brings the trunks and workers into agreement with what is told of
// interfaces: changed are those that have come or are different, gone are the
// indexes of those that are not there any more. It returns what it did.
func (d *Demux) Reconcile(changed []Link, gone []int) (done []Change, err error) {
	err = d.change(func() error {
		done = d.reconcile(changed, gone)
		return nil
	})
	return done, err
}

// Resync is Reconcile with every interface that has to do with a trunk or worker, as it
// is now. Each is looked up by itself: a list of all interfaces is interrupted on
// hosts where they change all the time. The first call also returns what Load found
// changed and put right.
func (d *Demux) Resync() (done []Change, err error) {
	err = d.change(func() error {
		var changed []Link
		var gone []int
		for _, a := range d.devices {
			link, err := d.linkOf(a)
			if a.ifindex != 0 && missing(err) {
				gone = append(gone, a.ifindex)
				link, err = d.net.LinkByName(a.name) // it may have been made again
			}
			switch {
			case err == nil:
				changed = append(changed, NewLink(link))
			case !missing(err):
				return fmt.Errorf("looking up interface %s: %w", a.name, err)
			}
		}
		done = slices.Concat(d.missed, d.reconcile(changed, gone))
		d.missed = nil
		return nil
	})
	return done, err
}

func (d *Demux) linkOf(a *device) (netlink.Link, error) {
	if a.ifindex == 0 {
		return d.net.LinkByName(a.name)
	}
	return d.net.LinkByIndex(a.ifindex)
}

func (d *Demux) reconcile(changed []Link, gone []int) (done []Change) {
	did := func(a *device, err error, format string, values ...any) {
		done = append(done, Change{Name: a.name, What: fmt.Sprintf(format, values...), Err: err})
	}
	for _, index := range gone {
		if a := d.byIndex[index]; a != nil {
			did(a, d.lose(a), "gone")
		}
	}
	lost := d.renameAll(changed, did)
	for i := range changed {
		d.follow(&changed[i], did)
	}
	for _, a := range lost {
		if link, err := d.linkByName(a.name); err == nil && d.devices[a.name] == a {
			d.follow(link, did)
		}
	}
	return done
}

// renameAll takes all old names away before it gives a new one: two interfaces may
// have swapped theirs. A device that waits for the name becomes one with it. Where our
// program is not on an interface of another name, the device is lost: it has gone, and a
// stranger has its index.
func (d *Demux) renameAll(changed []Link, did func(*device, error, string, ...any)) (lost []*device) {
	renamed := make(map[*device]string)
	for i := 0; i < len(changed); i++ {
		link := changed[i]
		a := d.byIndex[link.Index]
		if a == nil || a.name == link.Name {
			continue
		}
		there, err := a.hook.There()
		if err != nil || !there {
			did(a, errors.Join(err, d.lose(a)), "gone")
			lost = append(lost, a)
			continue
		}
		renamed[a] = link.Name
		delete(d.devices, a.name)
		// Who had the name has another one now, or is gone: that may not have been told yet.
		if other := d.devices[link.Name]; other != nil && other.ifindex != 0 {
			now, err := d.net.LinkByIndex(other.ifindex)
			switch {
			case err == nil:
				changed = append(changed, NewLink(now))
			case missing(err):
				did(other, d.lose(other), "gone")
			default:
				did(other, fmt.Errorf("looking up interface %s: %w", other.name, err), "renamed")
			}
		}
	}
	for a, name := range renamed {
		former := a.name
		if waiting := d.devices[name]; waiting != nil {
			if err := d.absorb(a, waiting); err != nil {
				d.devices[former] = a
				did(a, errors.Join(err, d.lose(a)), "renamed to %s", name)
				continue
			}
		}
		did(a, d.rename(a, name, renamed), "renamed from %s", former)
	}
	return lost
}

// absorb gives a device the clients of one that waits for the name it has now.
func (d *Demux) absorb(a, waiting *device) error {
	if waiting.role != a.role {
		return fmt.Errorf("%w: %s is remembered in the other role", ErrWrongRole, waiting.name)
	}
	if a.role == bpfAttachRoleROLE_TRUNK {
		return errors.Join(d.moveAllowed(waiting, a), d.forget(waiting))
	}
	a.isDefault = a.isDefault || waiting.isDefault
	slots := d.slotsOf(waiting)
	for _, slot := range slots {
		d.leave(slot)
		d.join(slot, a)
		d.clientWorkers[slot].Store(uint64(a.number))
	}
	d.point(a)
	return errors.Join(d.recount(slots), d.forget(waiting))
}

// follow attaches a device that came, looks whether one that is there still is as
// it was left, and whether it is up.
func (d *Demux) follow(link *Link, did func(*device, error, string, ...any)) {
	a := d.devices[link.Name]
	if a == nil || a.namedOnly {
		return
	}
	if a.ifindex != link.Index { // what is told may be older than what is known
		now, err := d.linkByName(link.Name)
		if errors.Is(err, ErrUnknownInterface) {
			return
		}
		if err != nil {
			did(a, err, "attached")
			return
		}
		link = now
	}
	if a.ifindex != 0 && a.ifindex != link.Index {
		did(a, d.lose(a), "gone")
	}
	if a.ifindex == 0 {
		err := d.attach(a, link)
		if err != nil && d.hasGone(link.Index) {
			return
		}
		what := "attached"
		if err == nil && a.down {
			what = "attached, it is down"
		}
		did(a, err, "%s", what)
		return
	}
	restored, err := d.restoreHook(a)
	if err != nil && d.hasGone(link.Index) {
		did(a, d.lose(a), "gone")
		return
	}
	if restored || err != nil {
		did(a, err, "%s", takenOff)
	}
	target, down, mtu := a.target(), a.down, a.mtu
	if err := d.note(a, link); err != nil {
		did(a, err, "changed")
	}
	d.publishLimits()
	if a.target() != target && a.role == bpfAttachRoleROLE_WORKER {
		d.point(a)
	}
	switch {
	case a.down && !down:
		did(a, nil, "down")
	case down && !a.down:
		did(a, nil, "up")
	case a.mtu != mtu:
		did(a, nil, "%s", mtuChange(mtu, a.mtu))
	}
}

// hasGone tells why something failed: the interface is being deleted, which is told later.
func (d *Demux) hasGone(ifindex int) bool {
	_, err := d.net.LinkByIndex(ifindex)
	return missing(err)
}
