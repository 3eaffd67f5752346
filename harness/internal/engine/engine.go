// Package engine drives a Docker engine: it connects, loads images, and starts the lab's containers with the least privilege that works.
//
// It needs the Docker API and nothing else. The engine may be rootless, remote or inside a virtual machine: no path, process or
// permission of this machine is taken to be the engine's.
package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/client"
)

// Label marks every container that this package starts; its value is the container's [Kind].
const Label = "io.github.vlandemux.kind"

// Version says which engine this is and what it runs on.
type Version struct {
	Engine string // the engine's own version, e.g. "20.10.24"
	API    string // the API version in use, e.g. "1.41"
	Arch   string // GOARCH of the engine's machine, e.g. "amd64"
	Kernel string // its kernel release
}

// Engine is a connection to a Docker engine. It is safe for concurrent use.
type Engine struct {
	api      client.APIClient
	address  string  // as [Connect] was given it
	host     string  // the address in use, for messages
	tunnel   *tunnel // nil but for ssh://
	version  Version
	guard    *guard
	patience time.Duration // how long a busy engine may take to say that it is there

	closing context.Context // ended by Close; what waits in the background ends with it
	close   context.CancelFunc
}

// Version returns what the engine said of itself when it was connected to.
func (e *Engine) Version() Version { return e.version }

// Host returns the address in use, as DOCKER_HOST would give it.
func (e *Engine) Host() string { return e.host }

// Alive asks the engine whether it is still there: over a new connection, since one that is shutting down goes on answering on those it has, and over
// this one, whose ssh may have ended. Errors are those of [Connect].
func (e *Engine) Alive(ctx context.Context) error {
	again, err := Connect(ctx, e.address)
	if err == nil {
		err = again.Close()
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, connectTimeout, fmt.Errorf("%w within %v", errNoAnswer, connectTimeout))
	defer cancel()
	if _, err := e.api.Ping(ctx); err != nil {
		return e.unreachable(ctx, "connecting to Docker at "+e.host, err)
	}
	return nil
}

// WhileAlive returns a context that ends when the engine does not answer any more, and says so: for what takes as long as it takes, such as loading an
// image. It is to be cancelled.
func (e *Engine) WhileAlive(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		tick := time.NewTicker(e.patience / 3)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			asked, done := context.WithTimeoutCause(ctx, e.patience, fmt.Errorf("%w for %v", errNoAnswer, e.patience))
			if _, err := e.api.Ping(asked); err != nil && ctx.Err() == nil {
				cancel(e.advise("waiting for Docker at "+e.host, cmp.Or(context.Cause(asked), err)))
			}
			done()
		}
	}()
	return ctx, func() { cancel(nil) }
}

// Identity tells engines apart: two addresses with one identity lead to one engine.
func (e *Engine) Identity(ctx context.Context) (string, error) {
	info, err := e.info(ctx)
	return fmt.Sprintf("%s on %s, in %s", info.ID, info.Name, info.DockerRootDir), err
}

// Processors is how many the engine's machine has.
func (e *Engine) Processors(ctx context.Context) (int, error) {
	info, err := e.info(ctx)
	return info.NCPU, err
}

func (e *Engine) info(ctx context.Context) (system.Info, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, connectTimeout, fmt.Errorf("%w within %v", errNoAnswer, connectTimeout))
	defer cancel()
	info, err := e.api.Info(ctx)
	if err != nil {
		return info, e.explain("asking for what docker info says", cmp.Or(context.Cause(ctx), err))
	}
	return info, nil
}

// Close releases the connections. Close the containers first: how they end can't be learned any more.
func (e *Engine) Close() error {
	e.close()
	err := e.guard.dismiss()
	if e.api != nil {
		err = errors.Join(err, e.api.Close())
	}
	if e.tunnel != nil {
		err = errors.Join(err, e.tunnel.close())
	}
	return err
}
