package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

// fakePlane is a dataplane without a kernel. It knows the interfaces of its names.
type fakePlane struct {
	interfaces       fakeNames
	trunks, workers  map[string]bool
	assigned         map[demux.MAC]string
	capacity         int
	failTrunk        string // attaching this one fails
	closed, detached bool
}

func newFakePlane(interfaces fakeNames) *fakePlane {
	return &fakePlane{interfaces: interfaces, trunks: map[string]bool{}, workers: map[string]bool{}, assigned: map[demux.MAC]string{}, capacity: 8}
}

var _ dataplane = (*fakePlane)(nil)

// state is what must not change in a start that fails.
func (f *fakePlane) state() string { return fmt.Sprint(f.trunks, f.workers, f.assigned) }

func (f *fakePlane) attach(to, other map[string]bool, name string) (demux.AttachMode, error) {
	switch {
	case other[name]:
		return "", demux.ErrWrongRole
	case f.interfaces[name] == 0 && !to[name]:
		return "", demux.ErrUnknownInterface
	case name == f.failTrunk:
		return "", errors.New("attaching tcx link: EBUSY")
	}
	to[name] = true
	return demux.AttachTCX, nil
}

func letGo(from map[string]bool, name string) error {
	if !from[name] {
		return demux.ErrUnknownInterface
	}
	delete(from, name)
	return nil
}

func (f *fakePlane) AttachTrunk(name string, _ bool) (demux.AttachMode, error) {
	return f.attach(f.trunks, f.workers, name)
}

func (f *fakePlane) AttachWorker(name string, _ bool) (demux.AttachMode, error) {
	return f.attach(f.workers, f.trunks, name)
}

func (f *fakePlane) DetachTrunk(name string) error  { return letGo(f.trunks, name) }
func (f *fakePlane) DetachWorker(name string) error { return letGo(f.workers, name) }

func (f *fakePlane) AssignAll(list []demux.Assignment) error {
	if len(f.assigned)+len(list) > f.capacity {
		return demux.ErrFull
	}
	for _, a := range list {
		f.assigned[a.MAC] = a.Worker
	}
	return nil
}

func (f *fakePlane) reassign(mac demux.MAC, worker string) error {
	if _, err := f.AttachWorker(worker, false); err != nil {
		return err
	}
	f.assigned[mac] = worker
	return nil
}

func (f *fakePlane) ReassignAll(list []demux.Assignment) error {
	var errs []error
	for _, a := range list {
		errs = append(errs, f.reassign(a.MAC, a.Worker))
	}
	return errors.Join(errs...)
}

func (f *fakePlane) UnassignAll(macs []demux.MAC) error {
	var errs []error
	for _, mac := range macs {
		errs = append(errs, f.Unassign(mac))
	}
	return errors.Join(errs...)
}

func (f *fakePlane) Expect(name string, trunk, _ bool) error {
	if trunk {
		f.trunks[name] = true
	} else {
		f.workers[name] = true
	}
	return nil
}

func (f *fakePlane) Follow(context.Context, demux.FollowOptions) error { return nil }
func (f *fakePlane) ForgetUnused(context.Context) error                { return nil }
func (f *fakePlane) SetDefaultWorker(string) error                     { return nil }
func (f *fakePlane) Pinned() bool                                      { return true }

func (f *fakePlane) Unassign(mac demux.MAC) error {
	delete(f.assigned, mac)
	return nil
}

func (f *fakePlane) Assignments() ([]demux.Assignment, error) {
	var list []demux.Assignment
	for mac, worker := range f.assigned {
		list = append(list, demux.Assignment{MAC: mac, Worker: worker})
	}
	demux.SortAssignments(list)
	return list, nil
}

func (f *fakePlane) Assigned() int { return len(f.assigned) }

func (f *fakePlane) Find(macs []demux.MAC) ([]demux.Assignment, error) {
	var found []demux.Assignment
	for _, mac := range macs {
		if worker, ok := f.assigned[mac]; ok {
			found = append(found, demux.Assignment{MAC: mac, Worker: worker})
		}
	}
	return found, nil
}

func attachments(of map[string]bool) []demux.Attachment {
	var list []demux.Attachment
	for _, name := range slices.Sorted(maps.Keys(of)) {
		list = append(list, demux.Attachment{Name: name, Index: 1, Mode: demux.AttachTCX})
	}
	return list
}

func (f *fakePlane) Counters() (demux.Counters, error) { return demux.Counters{}, nil }
func (f *fakePlane) Trunks() []demux.Attachment        { return attachments(f.trunks) }
func (f *fakePlane) Workers() []demux.Attachment       { return attachments(f.workers) }
func (f *fakePlane) Options() demux.Options {
	return demux.Options{Capacity: f.capacity, Untagged: demux.UntaggedDrop, Unknown: demux.UnknownDrop}
}
func (f *fakePlane) Close() error  { f.closed = true; return nil }
func (f *fakePlane) Detach() error { f.detached = true; return nil }
func (f *fakePlane) ReadEvents(ctx context.Context, _ func(demux.Event) error) error {
	<-ctx.Done()
	return ctx.Err()
}

func (f *fakePlane) ReadDrops(ctx context.Context, began func(), _ func(demux.Drop) error) error {
	began()
	<-ctx.Done()
	return ctx.Err()
}

// fakeNames are indexes by name.
type fakeNames map[string]int
