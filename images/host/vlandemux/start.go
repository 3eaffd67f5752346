package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/demux/control"
)

// dataplane is what run needs of a [*demux.Demux].
type dataplane interface {
	control.Dataplane
	AssignAll(assignments []demux.Assignment) error
	AttachTrunk(ifindex int) (demux.AttachMode, error)
	AttachWorker(ifindex int) (demux.AttachMode, error)
	DetachTrunk(ifindex int) error
	DetachWorker(ifindex int) error
	Close() error
	Detach() error
}

var _ dataplane = (*demux.Demux)(nil)

// starter brings a dataplane to what the settings say, and can take back what it did.
type starter struct {
	plane dataplane
	names control.Names
	log   *slog.Logger
	// undo is a stack of what takes back each step, with what it is called.
	undo []undoStep
}

type undoStep struct {
	name string
	do   func() error
}

// start attaches and assigns what the settings say. When a step fails or ctx ends, all of its steps are
// taken back; what was pinned before stays.
func start(ctx context.Context, plane dataplane, names control.Names, settings config, log *slog.Logger) error {
	s := starter{plane: plane, names: names, log: log}
	for _, step := range []func(context.Context, config) error{s.trunks, s.workers, s.assignments, s.otherTrunks} {
		if err := step(ctx, settings); err != nil {
			return errors.Join(err, s.takeBack())
		}
	}
	return nil
}

func (s *starter) did(name string, undo func() error) {
	s.undo = append(s.undo, undoStep{name: name, do: undo})
}

// takeBack undoes every step, last first, past failures.
func (s *starter) takeBack() error {
	var failures []error
	for _, step := range slices.Backward(s.undo) {
		s.log.Debug("taking back", "step", step.name)
		if err := step.do(); err != nil {
			failures = append(failures, fmt.Errorf("taking back %s: %w", step.name, err))
		}
	}
	return errors.Join(failures...)
}

// trunks attaches the trunks of the settings, or those of the last run when the settings have none.
func (s *starter) trunks(ctx context.Context, settings config) error {
	before := indexes(s.plane.Trunks())
	if len(settings.trunks) == 0 {
		if len(before) == 0 {
			return errors.New("no trunk: give the interface on which tagged frames arrive, e.g. --trunk eth1")
		}
		s.log.Info("no trunk given, going on with those of the last run", "trunks", named(s.names, s.plane.Trunks()))
		return nil
	}
	for _, name := range settings.trunks {
		if err := ctx.Err(); err != nil {
			return err
		}
		index, err := s.names.Index(name)
		if err != nil {
			return err
		}
		mode, err := s.plane.AttachTrunk(index)
		if err != nil {
			return fmt.Errorf("attaching trunk %s: %w", name, err)
		}
		if !slices.Contains(before, index) {
			s.did("trunk "+name, func() error { return s.plane.DetachTrunk(index) })
		}
		s.log.Debug("attached trunk", "trunk", name, "ifindex", index, "attach", mode)
	}
	return nil
}

// workers attaches every worker that the settings name. Those of the last run are attached by now.
func (s *starter) workers(ctx context.Context, settings config) error {
	before := indexes(s.plane.Workers())
	done := make(map[string]bool)
	for _, p := range settings.assign {
		if done[p.worker] {
			continue
		}
		done[p.worker] = true
		if err := ctx.Err(); err != nil {
			return err
		}
		index, err := s.names.Index(p.worker)
		if err != nil {
			return err
		}
		mode, err := s.plane.AttachWorker(index)
		if err != nil {
			return fmt.Errorf("attaching worker %s: %w", p.worker, err)
		}
		if !slices.Contains(before, index) {
			s.did("worker "+p.worker, func() error { return s.plane.DetachWorker(index) })
		}
		s.log.Debug("attached worker", "worker", p.worker, "ifindex", index, "attach", mode)
	}
	return nil
}

// assignments makes the assignments of the settings. A MAC that has another worker is moved.
func (s *starter) assignments(ctx context.Context, settings config) error {
	list, err := s.plane.Assignments()
	if err != nil {
		return fmt.Errorf("reading the assignments: %w", err)
	}
	former := make(map[demux.MAC]int, len(list))
	for _, a := range list {
		former[a.MAC] = a.Worker
	}
	var fresh []demux.Assignment
	for _, p := range settings.assign {
		if err := ctx.Err(); err != nil {
			return err
		}
		index, err := s.names.Index(p.worker)
		if err != nil {
			return err
		}
		before, assigned := former[p.mac]
		switch {
		case !assigned:
			fresh = append(fresh, demux.Assignment{MAC: p.mac, Worker: index})
		case before != index:
			if err := s.plane.Reassign(p.mac, index); err != nil {
				return fmt.Errorf("reassigning %s to %s: %w", p.mac, p.worker, err)
			}
			s.did("reassignment "+p.String(), func() error { return s.plane.Reassign(p.mac, before) })
			s.log.Info("reassigned", "mac", p.mac.String(), "from", s.names.Name(before), "to", p.worker)
		}
	}
	if kept := len(list) + len(fresh) - len(settings.assign); kept > 0 {
		s.log.Info("keeping assignments of the last run that the settings do not name", "count", kept)
	}
	if len(fresh) == 0 {
		return nil
	}
	// All at once: each change on its own waits for running programs.
	if err := s.plane.AssignAll(fresh); err != nil {
		return err
	}
	s.did("assignments", func() error {
		var failures []error
		for _, a := range fresh {
			failures = append(failures, s.plane.Unassign(a.MAC))
		}
		return errors.Join(failures...)
	})
	return nil
}

// otherTrunks detaches the trunks of the last run that the settings no longer name. It comes last, since
// it cannot be taken back without a gap.
func (s *starter) otherTrunks(_ context.Context, settings config) error {
	if len(settings.trunks) == 0 {
		return nil
	}
	for _, index := range indexes(s.plane.Trunks()) {
		name := s.names.Name(index)
		if slices.Contains(settings.trunks, name) {
			continue
		}
		if err := s.plane.DetachTrunk(index); err != nil {
			return fmt.Errorf("detaching trunk %s of the last run: %w", name, err)
		}
		s.log.Info("detached a trunk of the last run that the settings do not name", "trunk", name)
	}
	return nil
}

func indexes(attached []demux.Attachment) []int {
	list := make([]int, 0, len(attached))
	for _, a := range attached {
		list = append(list, a.Index)
	}
	return list
}
