package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
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
