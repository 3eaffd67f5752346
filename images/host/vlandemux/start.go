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
	AttachTrunk(name string, force bool) (demux.AttachMode, error)
	AttachWorker(name string, force bool) (demux.AttachMode, error)
	Expect(name string, trunk, force bool) error
	SetDefaultWorker(name string) error
	Follow(ctx context.Context, opts demux.FollowOptions) error
	ForgetUnused(ctx context.Context) error
	Close() error
	Detach() error
}

var _ dataplane = (*demux.Demux)(nil)

// starter brings a dataplane to what the settings say, and can take back what it did.
type starter struct {
	plane dataplane
	log   *slog.Logger
	// gone are assignments to take away.
	gone []demux.Assignment
	// undo is a stack of what takes back each step, with what it is called.
	undo []undoStep
}

type undoStep struct {
	name string
	do   func() error
}

// start attaches and assigns what the settings say. When a step fails or ctx ends, all of its steps are
// taken back; what was pinned before stays.
func start(ctx context.Context, plane dataplane, settings config, log *slog.Logger) error {
	return (&starter{plane: plane, log: log}).start(ctx, settings)
}

func (s *starter) start(ctx context.Context, settings config) error {
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
	before := names(s.plane.Trunks())
	if len(settings.trunks) == 0 {
		if len(before) == 0 {
			return errors.New("no trunk: give the interface on which tagged frames arrive, e.g. --trunk eth1")
		}
		s.log.Info("no trunk given, going on with those of the last run", "trunks", before)
		return nil
	}
	for _, name := range settings.trunks {
		if err := ctx.Err(); err != nil {
			return err
		}
		mode, err := s.plane.AttachTrunk(name, settings.force)
		if errors.Is(err, demux.ErrUnknownInterface) {
			s.log.Warn("a trunk is not there: it is attached when it comes", "trunk", name)
			err = s.plane.Expect(name, true, settings.force)
		}
		if err != nil {
			return fmt.Errorf("trunk %s: %w", name, err)
		}
		if !slices.Contains(before, name) {
			s.did("trunk "+name, func() error { return s.plane.DetachTrunk(name) })
		}
		s.log.Debug("attached trunk", "trunk", name, "attach", mode)
	}
	return nil
}

// workers attaches every worker that the settings name. Those of the last run are attached by now.
func (s *starter) workers(ctx context.Context, settings config) error {
	before := names(s.plane.Workers())
	done := make(map[string]bool)
	wanted := settings.assign
	if name := settings.defaultWorker(); name != "" {
		wanted = append(slices.Clip(wanted), demux.Assignment{Worker: name})
	}
	for _, p := range wanted {
		if done[p.Worker] {
			continue
		}
		done[p.Worker] = true
		if err := ctx.Err(); err != nil {
			return err
		}
		mode, err := s.plane.AttachWorker(p.Worker, settings.force)
		if errors.Is(err, demux.ErrUnknownInterface) {
			s.log.Warn("a worker is not there: its clients have none until it comes", "worker", p.Worker)
			err = s.plane.Expect(p.Worker, false, settings.force)
		}
		if err != nil {
			return fmt.Errorf("worker %s: %w", p.Worker, err)
		}
		if !slices.Contains(before, p.Worker) {
			// Its clients are unassigned by then, and may have taken it along.
			s.did("worker "+p.Worker, func() error {
				if err := s.plane.DetachWorker(p.Worker); !errors.Is(err, demux.ErrUnknownInterface) {
					return err
				}
				return nil
			})
		}
		s.log.Debug("attached worker", "worker", p.Worker, "attach", mode)
	}
	if settings.unknown == "" {
		return nil // as in the last run
	}
	return s.plane.SetDefaultWorker(settings.defaultWorker())
}

// assignments makes the assignments of the settings. A MAC that has another worker is moved.
func (s *starter) assignments(ctx context.Context, settings config) error {
	list, err := s.plane.Assignments()
	if err != nil {
		return fmt.Errorf("reading the assignments: %w", err)
	}
	change := control.Compare(list, settings.assign, false)
	change.Gone = s.gone
	if kept := len(list) + len(change.Fresh) - len(settings.assign) - len(s.gone); kept > 0 {
		s.log.Info("keeping assignments of the last run that the settings do not name", "count", kept)
	}
	if len(change.Moved) > 0 {
		s.log.Info("giving clients other workers than in the last run", "count", len(change.Moved))
	}
	if err := change.Do(s.plane); err != nil {
		return err
	}
	s.did("assignments", func() error { return change.Reverse().Do(s.plane) })
	return ctx.Err()
}

// otherTrunks detaches the trunks of the last run that the settings no longer name. It comes last, since
// it cannot be taken back without a gap.
func (s *starter) otherTrunks(_ context.Context, settings config) error {
	if len(settings.trunks) == 0 {
		return nil
	}
	for _, name := range names(s.plane.Trunks()) {
		if slices.Contains(settings.trunks, name) {
			continue
		}
		if err := s.plane.DetachTrunk(name); err != nil {
			return fmt.Errorf("detaching trunk %s of the last run: %w", name, err)
		}
		s.log.Info("detached a trunk of the last run that the settings do not name", "trunk", name)
	}
	return nil
}

func names(attached []demux.Attachment) []string {
	list := make([]string, 0, len(attached))
	for _, a := range attached {
		list = append(list, a.Name)
	}
	return list
}
