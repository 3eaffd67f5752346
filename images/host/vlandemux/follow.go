package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/demux/control"
)

// follower attaches trunks and workers again that are deleted and made anew under their names. Indexes
// are what the dataplane knows, and a new interface has a new one. Used by one goroutine after start.
type follower struct {
	plane dataplane
	log   *slog.Logger
	// trunks are the names that trunks have at the start.
	trunks map[string]bool
	// names of the interfaces there are, by index.
	names map[int]string
	// gone are the former indexes of deleted trunks and workers, by name.
	gone map[string]int
}

func newFollower(plane dataplane, names control.Names, log *slog.Logger) *follower {
	f := &follower{plane: plane, log: log, trunks: map[string]bool{}, names: map[int]string{}, gone: map[string]int{}}
	for _, trunk := range plane.Trunks() {
		f.trunks[names.Name(trunk.Index)] = true
	}
	return f
}

// linkBacklog is how many link messages the kernel may send before one is read.
const linkBacklog = 256

// start subscribes to link changes and follows them until ctx ends; it then sends one value on ended.
func (f *follower) start(ctx context.Context, ended chan<- error) error {
	updates := make(chan netlink.LinkUpdate, linkBacklog)
	options := netlink.LinkSubscribeOptions{
		ListExisting:  true,
		ErrorCallback: func(err error) { f.log.Debug("reading link changes", "error", err) },
	}
	if err := netlink.LinkSubscribeWithOptions(updates, ctx.Done(), options); err != nil {
		return fmt.Errorf("subscribing to link changes: %w", err)
	}
	go func() {
		defer func() { ended <- nil }()
		for update := range updates {
			if update.Family != unix.AF_UNSPEC {
				continue // an interface joins or leaves a bridge
			}
			f.update(update.Header.Type == unix.RTM_DELLINK, int(update.Index), update.Attrs().Name)
		}
		if ctx.Err() == nil {
			f.log.Warn("link changes are no longer followed: interfaces made again need a restart of vlandemux run")
		}
	}()
	return nil
}

// update takes one message of the kernel: an interface is there, or was deleted (or left the namespace).
func (f *follower) update(deleted bool, index int, name string) {
	if deleted {
		delete(f.names, index)
		if f.isTrunk(index) || f.isWorker(index) {
			f.gone[name] = index
			f.log.Warn("an interface of the demux is gone; it is attached again when it comes back", "name", name, "ifindex", index)
		}
		return
	}
	known := f.names[index] == name
	f.names[index] = name
	if known {
		return
	}
	former, wasGone := f.gone[name]
	switch {
	case wasGone && f.isTrunk(former), f.trunks[name] && !f.isTrunk(index):
		f.trunk(name, index)
	case wasGone:
		f.worker(name, index, former)
	}
}

// trunk attaches a trunk that came back.
func (f *follower) trunk(name string, index int) {
	if former, wasGone := f.gone[name]; wasGone {
		// Also when it is the same interface, back from another namespace: its program is not.
		f.forget(f.plane.DetachTrunk(former), name, former)
	}
	mode, err := f.plane.AttachTrunk(index)
	if err != nil {
		f.log.Error("attaching a trunk that came back", "trunk", name, "ifindex", index, "error", err)
		return
	}
	delete(f.gone, name)
	f.log.Info("attached a trunk that came back", "trunk", name, "ifindex", index, "attach", mode)
}

// worker attaches a worker that came back and gives it the clients of its former index.
func (f *follower) worker(name string, index, former int) {
	f.forget(f.plane.DetachWorker(former), name, former)
	if _, err := f.plane.AttachWorker(index); err != nil {
		f.log.Error("attaching a worker that came back", "worker", name, "ifindex", index, "error", err)
		return
	}
	assigned, err := f.plane.Assignments()
	if err != nil {
		f.log.Error("reading the assignments of a worker that came back", "worker", name, "error", err)
		return
	}
	clients := 0
	for _, a := range assigned {
		if a.Worker != former {
			continue
		}
		// Unassigned in between by someone else is as good.
		if err := f.plane.Reassign(a.MAC, index); err != nil && !errors.Is(err, demux.ErrNotAssigned) {
			f.log.Error("reassigning a client to a worker that came back", "mac", a.MAC.String(), "worker", name, "error", err)
			return
		}
		clients++
	}
	delete(f.gone, name)
	f.log.Info("attached a worker that came back", "worker", name, "ifindex", index, "clients", clients)
}

// forget reports what went wrong in letting go of an interface that is not there any more.
func (f *follower) forget(err error, name string, former int) {
	if err != nil {
		f.log.Debug("forgetting a deleted interface", "name", name, "ifindex", former, "error", err)
	}
}

func (f *follower) isTrunk(index int) bool {
	for _, a := range f.plane.Trunks() {
		if a.Index == index {
			return true
		}
	}
	return false
}

func (f *follower) isWorker(index int) bool {
	for _, a := range f.plane.Workers() {
		if a.Index == index {
			return true
		}
	}
	return false
}
