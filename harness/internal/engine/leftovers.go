package engine

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
)

// Leftovers names the containers that carry a label ("name" or "name=value"), in whatever state.
func (e *Engine) Leftovers(ctx context.Context, label string) ([]string, error) {
	list, err := e.list(ctx, filters.Arg("label", label))
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(list))
	for _, c := range list {
		names = append(names, strings.TrimPrefix(strings.Join(c.Names, ","), "/"))
	}
	return names, nil
}

// sweepAge is how old a container that was never started must be before it counts as abandoned.
const sweepAge = 10 * time.Minute

// Sweep removes containers of ours that were created more than ten minutes ago and never started. Such a one is left where a process was killed
// between the two and its guard with it.
func (e *Engine) Sweep(ctx context.Context) error {
	return e.removeCreated(ctx, sweepAge, filters.Arg("label", Label))
}

// removeCreated removes containers that were created at least so long ago and never started.
func (e *Engine) removeCreated(ctx context.Context, age time.Duration, which filters.KeyValuePair) error {
	list, err := e.list(ctx, which, filters.Arg("status", "created"))
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range list {
		if time.Since(time.Unix(c.Created, 0)) < age {
			continue
		}
		// Not by force: one that has been started meanwhile ends with its stream.
		err := e.api.ContainerRemove(ctx, c.ID, container.RemoveOptions{})
		if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) {
			errs = append(errs, e.explain("removing abandoned container "+c.ID, err))
		}
	}
	return errors.Join(errs...)
}

func (e *Engine) list(ctx context.Context, args ...filters.KeyValuePair) ([]container.Summary, error) {
	list, err := e.api.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(args...)})
	if err != nil {
		return nil, e.explain("listing containers", err)
	}
	return list, nil
}
