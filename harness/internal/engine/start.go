package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
)

// createTimeout bounds one call that must not be abandoned half-way: a container whose creation nobody waits for would stay.
const createTimeout = time.Minute

// Start creates a container, attaches to it and starts it. It returns once the container's program runs.
//
// The container ends with its stream: the program must exit when its stdin ends, and the engine then removes it. So nothing stays
// behind even when this process is killed; in the moment before the container runs, a second process, the guard, sees to that, if the program has one (see [StandGuard]). On an error,
// nothing of the container is left either.
//
// Errors match [ErrNameTaken], [ErrNoImage], [ErrCapabilities], [ErrNoSpace] and those of [Connect].
func (e *Engine) Start(ctx context.Context, spec Spec) (*Container, error) {
	if err := e.guard.start(); err != nil {
		return nil, fmt.Errorf("starting container %s: %w", spec.Name, err)
	}
	sysctls := spec.sysctls()
	c, err := e.start(ctx, spec, sysctls)
	if err != nil && lacksIPv6(err) && (!spec.IPv6 || spec.Kind == KindTest) {
		// A kernel without IPv6 has no switch to turn it off with. A test may yet do without.
		maps.DeleteFunc(sysctls, func(name, _ string) bool { return strings.HasPrefix(name, "net.ipv6.") })
		c, err = e.start(ctx, spec, sysctls)
	}
	return c, err
}

func (e *Engine) start(ctx context.Context, spec Spec, sysctls map[string]string) (_ *Container, err error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("starting container %s: %w", spec.Name, context.Cause(ctx))
	}
	// Creation takes milliseconds and is not interrupted: an answer that nobody reads would leave a container.
	createCtx, cancelCreate := context.WithTimeout(context.WithoutCancel(ctx), createTimeout)
	defer cancelCreate()
	config, hostConfig := spec.config(sysctls)
	config.Labels[ownerLabel] = e.guard.owner
	created, err := e.api.ContainerCreate(createCtx, config, hostConfig, nil, nil, spec.Name)
	if err != nil {
		return nil, e.explain("creating container "+spec.Name, err)
	}

	c := &Container{ID: created.ID, Name: spec.Name, engine: e}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Remove(ctx))
		}
	}()

	conn, err := e.api.ContainerAttach(ctx, c.ID, container.AttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true})
	if err != nil {
		// The client drops what the engine says. Podman prepares a container when it is attached to, and says the same when it is to start it.
		return nil, e.explain("attaching to container "+spec.Name, cmp.Or(e.api.ContainerStart(ctx, c.ID, container.StartOptions{}), err))
	}
	c.stream = newStream(conn, spec.Stderr, spec.Kind == KindImage)
	c.Stream = c.stream
	c.exit = e.awaitRemoval(ctx, c.ID, c.Name)

	if err := e.api.ContainerStart(ctx, c.ID, container.StartOptions{}); err != nil {
		return nil, e.explain("starting container "+spec.Name, err)
	}
	if spec.Kind == KindImage {
		return c, nil // it may end as soon as it likes, and nobody asks for its process
	}
	info, err := e.api.ContainerInspect(ctx, c.ID)
	if err != nil {
		return nil, c.diedEarly(ctx, e.explain("inspecting container "+spec.Name, err))
	}
	if info.State == nil || info.State.Pid == 0 {
		return nil, c.diedEarly(ctx, errors.New("it has no process"))
	}
	c.PID = info.State.Pid
	return c, nil
}

// diedEarly explains a container that was gone before it could be inspected: with what its program wrote last, if anything.
func (c *Container) diedEarly(ctx context.Context, cause error) error {
	select {
	case <-c.exit.done:
	case <-ctx.Done():
		return fmt.Errorf("starting container %s: %w", c.Name, context.Cause(ctx))
	case <-time.After(removalGrace):
		return fmt.Errorf("starting container %s: %w", c.Name, cause)
	}
	c.stream.drain()
	return fmt.Errorf("starting container %s: its program exited at once with status %d: %s: %w",
		c.Name, c.exit.status, strings.TrimSpace(c.Log()), cause)
}
