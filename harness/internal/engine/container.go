package engine

import (
	"context"
	"fmt"
	"io"
)

// Container is a running container. Its methods are safe for concurrent use.
type Container struct {
	// ID is the engine's identifier: 64 hexadecimal digits.
	ID string
	// Name is the name it was started with.
	Name string
	// PID is its first process, in the engine's process namespace.
	PID int
	// Stream writes to the container's stdin and reads its stdout. Closing it ends stdin, at which the program must exit; so does the end of
	// this process, however it comes. One goroutine may read while another writes.
	Stream io.ReadWriteCloser

	engine *Engine
	stream *stream
	exit   *exit
}

// Log returns the last 64 KiB of what the container wrote on stderr.
func (c *Container) Log() string { return c.stream.log.String() }

// Logged is how many octets that is by now, in all.
func (c *Container) Logged() int64 { return c.stream.log.Octets() }

// LogSince returns what the container wrote on stderr after the first octets, as far as it is kept.
func (c *Container) LogSince(octets int64) string { return c.stream.log.Since(octets) }

// Done is closed once the container has ended and the engine has removed it, or once that can no longer be learned.
func (c *Container) Done() <-chan struct{} { return c.exit.done }

// Ended reports whether [Container.Done] is closed.
func (c *Container) Ended() bool {
	select {
	case <-c.exit.done:
		return true
	default:
		return false
	}
}

// Wait returns the container's exit status once it has ended and the engine has removed it.
func (c *Container) Wait(ctx context.Context) (int, error) {
	select {
	case <-c.exit.done:
		return c.exit.status, c.exit.err
	case <-ctx.Done():
		return 0, fmt.Errorf("waiting for container %s: %w", c.Name, context.Cause(ctx))
	}
}

// Signal sends a signal ("TERM", "QUIT", …) to the container's first process.
func (c *Container) Signal(ctx context.Context, signal string) error {
	if err := c.engine.api.ContainerKill(ctx, c.ID, signal); err != nil {
		return c.engine.explain(fmt.Sprintf("sending SIG%s to container %s", signal, c.Name), err)
	}
	return nil
}
