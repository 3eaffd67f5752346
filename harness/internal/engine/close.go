package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
)

const (
	// removalGrace is how long a container may take to end by itself once its stdin has ended.
	removalGrace = 30 * time.Second
	// forceTimeout bounds a removal by force, which takes place even if the caller's context has ended.
	forceTimeout = 30 * time.Second
)

// Close ends the container's stdin and returns once the engine has removed the container. One that doesn't end by itself within half a minute
// is removed by force, which is an error: its program is stuck. When ctx ends earlier, it is removed by force at once. Closing twice is fine.
func (c *Container) Close(ctx context.Context) error {
	errs := []error{c.stream.Close()}
	grace := time.NewTimer(removalGrace)
	defer grace.Stop()
	select {
	case <-c.exit.done:
	case <-ctx.Done():
		errs = append(errs, c.forceRemove(ctx))
	case <-grace.C:
		errs = append(errs,
			fmt.Errorf("container %s was removed by force: its program did not exit within %v of the end of its stdin", c.Name, removalGrace),
			c.forceRemove(ctx))
	}
	c.stream.drain()
	c.stream.release()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("closing container %s: %w", c.Name, err)
	}
	return nil
}

// Remove ends the container by force, whatever its program does, and returns once it is gone. Removing twice is fine.
func (c *Container) Remove(ctx context.Context) error {
	err := c.forceRemove(ctx)
	if c.stream != nil { // else a start has failed
		c.stream.drain()
		c.stream.release()
	}
	return err
}

// forceRemove removes the container whatever state it is in and returns once it is gone. It goes on when ctx has ended.
func (c *Container) forceRemove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), forceTimeout)
	defer cancel()
	err := c.engine.api.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true})
	switch {
	case errdefs.IsNotFound(err):
		return nil
	case errdefs.IsConflict(err): // its removal is under way already
	case err != nil:
		return c.engine.explain("removing container "+c.Name, err)
	}
	if c.exit == nil {
		return nil
	}
	select {
	case <-c.exit.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("removing container %s: the engine did not finish within %v", c.Name, forceTimeout)
	}
}

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
