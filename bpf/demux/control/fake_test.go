package control_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/demux/control"
)

// fakePlane is a dataplane without a kernel, with the real one's contract.
type fakePlane struct {
	mu       sync.Mutex
	capacity int
	// workerMTU is that of w0; the trunk's is 1500.
	workerMTU int

	assigned map[demux.MAC]demux.Assignment // guarded by mu
	broken   error                          // guarded by mu; what reads return
	events   chan demux.Event               // closed: ReadEvents fails
	drops    chan demux.Drop                // closed: ReadDrops fails
	reading  atomic.Int32                   // calls of ReadDrops that run
}

func newFakePlane(capacity int) *fakePlane {
	return &fakePlane{
		capacity: capacity, workerMTU: 1400, assigned: map[demux.MAC]demux.Assignment{}, events: make(chan demux.Event), drops: make(chan demux.Drop),
	}
}

func (f *fakePlane) assign(a demux.Assignment) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	mac, worker := a.MAC, a.Worker
	if !strings.HasPrefix(worker, "w") || worker == "w7" {
		return fmt.Errorf("attaching %s: %w", worker, demux.ErrUnknownInterface)
	}
	if a, ok := f.assigned[mac]; ok {
		return fmt.Errorf("%s: %w to %s", mac, demux.ErrAssigned, a.Worker)
	}
	if len(f.assigned) == f.capacity {
		return demux.ErrFull
	}
	f.assigned[mac] = a
	return nil
}

func (f *fakePlane) reassign(to demux.Assignment) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	mac, worker := to.MAC, to.Worker
	a, ok := f.assigned[mac]
	if !ok {
		return fmt.Errorf("%s: %w", mac, demux.ErrNotAssigned)
	}
	if worker == "w7" {
		return fmt.Errorf("attaching %s: %w", worker, demux.ErrUnknownInterface)
	}
	a.Worker, a.Places = worker, to.Places
	f.assigned[mac] = a
	return nil
}

func (f *fakePlane) Unassign(mac demux.MAC) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.assigned[mac]; !ok {
		return fmt.Errorf("%s: %w", mac, demux.ErrNotAssigned)
	}
	delete(f.assigned, mac)
	return nil
}

func (f *fakePlane) AssignAll(list []demux.Assignment) error {
	for i, a := range list {
		if err := f.assign(a); err != nil {
			for _, done := range list[:i] {
				_ = f.Unassign(done.MAC)
			}
			return err
		}
	}
	return nil
}

// ReassignAll and UnassignAll find what is wrong in a first entry only.
func (f *fakePlane) ReassignAll(list []demux.Assignment) error {
	for _, a := range list {
		if err := f.reassign(a); err != nil {
			return err
		}
	}
	return nil
}

func (f *fakePlane) UnassignAll(macs []demux.MAC) error {
	for _, mac := range macs {
		if err := f.Unassign(mac); err != nil {
			return err
		}
	}
	return nil
}

func (f *fakePlane) Assigned() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.assigned)
}

func (f *fakePlane) Find(macs []demux.MAC) (found []demux.Assignment, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, mac := range macs {
		if a, ok := f.assigned[mac]; ok {
			found = append(found, a)
		}
	}
	return found, f.broken
}

// see sets where a client was seen.
func (f *fakePlane) see(mac demux.MAC, at demux.Location) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.assigned[mac]
	a.Location = at
	f.assigned[mac] = a
}

// fail makes reads fail.
func (f *fakePlane) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken = err
}

func (f *fakePlane) Assignments() ([]demux.Assignment, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]demux.Assignment, 0, len(f.assigned))
	for _, a := range f.assigned {
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b demux.Assignment) int { return bytes.Compare(a.MAC[:], b.MAC[:]) })
	return list, f.broken
}

func (f *fakePlane) Counters() (demux.Counters, error) {
	list, err := f.Assignments()
	counters := demux.Counters{
		Workers: []demux.WorkerCounters{{Worker: "w0", Flooded: demux.Tally{Packets: 3, Bytes: 192}}},
		Drops:   []demux.DropCounter{{Reason: 0, Tally: demux.Tally{Packets: 7, Bytes: 448}}},
		Passed:  demux.Tally{Packets: 5, Bytes: 300}, UnknownForwarded: demux.Tally{Packets: 6, Bytes: 360},
		EventsLost: 2,
	}
	for _, a := range list {
		counters.Clients = append(counters.Clients, demux.ClientCounters{
			MAC: a.MAC, Worker: a.Worker, Location: a.Location,
			Rx: demux.Tally{Packets: 1, Bytes: 64}, Tx: demux.Tally{Packets: 1 << 60, Bytes: 1<<64 - 1},
		})
	}
	return counters, err
}

func (f *fakePlane) ReadEvents(ctx context.Context, handle func(demux.Event) error) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, open := <-f.events:
			if !open {
				return fmt.Errorf("the ring buffer broke")
			}
			if err := handle(e); err != nil {
				return err
			}
		}
	}
}

func (f *fakePlane) ReadDrops(ctx context.Context, began func(), handle func(demux.Drop) error) error {
	f.reading.Add(1)
	defer f.reading.Add(-1)
	began()
	for {
		select {
		case <-ctx.Done():
			return nil
		case d, open := <-f.drops:
			if !open {
				return fmt.Errorf("the ring buffer broke")
			}
			if err := handle(d); err != nil {
				return err
			}
		}
	}
}

func (f *fakePlane) Trunks() []demux.Attachment {
	return []demux.Attachment{{Name: "eth1", Index: 2, Mode: demux.AttachTCX, MTU: 1500}}
}

func (f *fakePlane) Workers() []demux.Attachment {
	return []demux.Attachment{{Name: "w0", Index: 11, Mode: demux.AttachTCX, MTU: f.workerMTU, Peer: true}, {Name: "w1"}}
}

func (f *fakePlane) Options() demux.Options {
	return demux.Options{Capacity: f.capacity, Untagged: demux.UntaggedPass, Unknown: "w1", GroupLimit: 100, Age: 5 * time.Minute}
}

// Pinned says that somebody has removed the pins.
func (f *fakePlane) Pinned() bool { return false }

func (f *fakePlane) DetachTrunk(string) error { return nil }

func (f *fakePlane) DetachWorker(name string) error {
	if name != "w0" {
		return demux.ErrUnknownInterface
	}
	return nil
}

// Facts make eth1 a card that is not promiscuous and joins frames, and whose frames an XDP program gets.
func (fakeNames) Facts(name string) control.Facts {
	return control.Facts{Hardware: name == "eth1", LRO: name == "eth1", XDP: name == "eth1"}
}

// fakeNames knows eth1 (2), w0 (11) and w1 (12, deleted).
type fakeNames struct{}

func (fakeNames) Name(index int) string {
	switch index {
	case 2:
		return "eth1"
	case 11:
		return "w0"
	case 19:
		return "w9"
	}
	return fmt.Sprintf("ifindex %d (gone)", index)
}
