package engine

import (
	"context"
	"errors"

	"github.com/docker/docker/api/types/container"
)

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
