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
	trunks, workers  map[int]bool
	assigned         map[demux.MAC]int
	capacity         int
	failTrunk        int // attaching this one fails
	closed, detached bool
}

func newFakePlane(interfaces fakeNames) *fakePlane {
	return &fakePlane{interfaces: interfaces, trunks: map[int]bool{}, workers: map[int]bool{}, assigned: map[demux.MAC]int{}, capacity: 8}
}

var _ dataplane = (*fakePlane)(nil)

// state is what must not change in a start that fails.
func (f *fakePlane) state() string { return fmt.Sprint(f.trunks, f.workers, f.assigned) }

func (f *fakePlane) attach(to, other map[int]bool, index int) (demux.AttachMode, error) {
	switch {
	case other[index]:
		return "", demux.ErrWrongRole
	case f.interfaces.Name(index) == "gone" && !to[index]:
		return "", demux.ErrUnknownInterface
	case index == f.failTrunk:
		return "", errors.New("attaching tcx link: EBUSY")
	}
	to[index] = true
	return demux.AttachTCX, nil
}

func letGo(from map[int]bool, index int) error {
	if !from[index] {
		return demux.ErrUnknownInterface
	}
	delete(from, index)
	return nil
}

func (f *fakePlane) AttachTrunk(index int) (demux.AttachMode, error) {
	return f.attach(f.trunks, f.workers, index)
}

func (f *fakePlane) AttachWorker(index int) (demux.AttachMode, error) {
	return f.attach(f.workers, f.trunks, index)
}

func (f *fakePlane) DetachTrunk(index int) error  { return letGo(f.trunks, index) }
func (f *fakePlane) DetachWorker(index int) error { return letGo(f.workers, index) }

func (f *fakePlane) Assign(mac demux.MAC, worker int) error {
	return f.AssignAll([]demux.Assignment{{MAC: mac, Worker: worker}})
}

func (f *fakePlane) AssignAll(list []demux.Assignment) error {
	if len(f.assigned)+len(list) > f.capacity {
		return &demux.FullError{Capacity: f.capacity}
	}
	for _, a := range list {
		f.assigned[a.MAC] = a.Worker
	}
	return nil
}

func (f *fakePlane) Reassign(mac demux.MAC, worker int) error {
	if _, err := f.AttachWorker(worker); err != nil {
		return err
	}
	f.assigned[mac] = worker
	return nil
}

func (f *fakePlane) Unassign(mac demux.MAC) error {
	delete(f.assigned, mac)
	return nil
}

func (f *fakePlane) Assignments() ([]demux.Assignment, error) {
	var list []demux.Assignment
	for mac, worker := range f.assigned {
		list = append(list, demux.Assignment{MAC: mac, Worker: worker})
	}
	return list, nil
}

func attachments(of map[int]bool) []demux.Attachment {
	var list []demux.Attachment
	for _, index := range slices.Sorted(maps.Keys(of)) {
		list = append(list, demux.Attachment{Index: index, Mode: demux.AttachTCX})
	}
	return list
}

func (f *fakePlane) Counters() (demux.Counters, error) { return demux.Counters{}, nil }
func (f *fakePlane) Trunks() []demux.Attachment        { return attachments(f.trunks) }
func (f *fakePlane) Workers() []demux.Attachment       { return attachments(f.workers) }
func (f *fakePlane) Capacity() int                     { return f.capacity }
func (f *fakePlane) Close() error                      { f.closed = true; return nil }
func (f *fakePlane) Detach() error                     { f.detached = true; return nil }
func (f *fakePlane) ReadEvents(ctx context.Context, _ func(demux.Event) error) error {
	<-ctx.Done()
	return ctx.Err()
}

// fakeNames are indexes by name.
type fakeNames map[string]int

func (f fakeNames) Index(name string) (int, error) {
	if index, ok := f[name]; ok {
		return index, nil
	}
	return 0, demux.ErrUnknownInterface
}

func (f fakeNames) Name(index int) string {
	for name, i := range f {
		if i == index {
			return name
		}
	}
	return "gone"
}
