package engine

import (
	"bytes"
	"context"
	"fmt"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
)

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
