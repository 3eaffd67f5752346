package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
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

// Exec runs a program in the container, with what the container's own program may do, and returns what it wrote on stdout and stderr and its exit
// status. If ctx ends first, the program goes on for as long as the container does.
func (c *Container) Exec(ctx context.Context, argv ...string) (output string, status int, err error) {
	doing := fmt.Sprintf("running %q in container %s", argv, c.Name)
	created, err := c.engine.api.ContainerExecCreate(ctx, c.ID, container.ExecOptions{Cmd: argv, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return "", 0, c.engine.explain(doing, err)
	}
	conn, err := c.engine.api.ContainerExecAttach(ctx, created.ID, container.ExecAttachOptions{})
	if err != nil {
		return "", 0, c.engine.explain(doing, err)
	}
	stop := context.AfterFunc(ctx, conn.Close)
	var out bytes.Buffer
	_, err = stdcopy.StdCopy(&out, &out, conn.Reader)
	if stop() {
		conn.Close()
	}
	if ctx.Err() != nil {
		return out.String(), 0, fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	}
	if err != nil {
		return out.String(), 0, c.engine.explain(doing, err)
	}
	info, err := c.engine.api.ContainerExecInspect(ctx, created.ID)
	if err != nil {
		return out.String(), 0, c.engine.explain(doing, err)
	}
	return out.String(), info.ExitCode, nil
}

// exit is how a container ended. Its fields are read after done is closed.
type exit struct {
	done   chan struct{}
	status int
	err    error
}

// awaitRemoval starts to wait for the container's removal. It must be called before the container starts: one that is gone already can't be
// waited for. It returns once the engine has agreed to tell; ctx bounds that, the wait itself lasts as long as the engine's connection.
func (e *Engine) awaitRemoval(ctx context.Context, id, name string) *exit {
	x := &exit{done: make(chan struct{})}
	waitCtx, cancel := context.WithCancel(e.closing)
	agreed := context.AfterFunc(ctx, cancel)
	results, errs := e.api.ContainerWait(waitCtx, id, container.WaitConditionRemoved)
	agreed()
	go func() {
		defer close(x.done)
		defer cancel()
		select {
		case result := <-results:
			x.status = int(result.StatusCode)
			if result.Error != nil {
				x.err = e.explain("waiting for container "+name, errors.New(result.Error.Message))
			}
		case err := <-errs:
			x.err = e.explain("waiting for container "+name, err)
		}
	}()
	return x
}
