// Package engine drives a Docker engine: it connects, loads images, and starts the lab's containers with the least privilege that works.
//
// It needs the Docker API and nothing else. The engine may be rootless, remote or inside a virtual machine: no path, process or
// permission of this machine is taken to be the engine's.
package engine

import (
	"context"
	"errors"

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
	api     client.APIClient
	address string  // as [Connect] was given it
	host    string  // the address in use, for messages
	tunnel  *tunnel // nil but for ssh://
	version Version
	guard   *guard

	closing context.Context // ended by Close; what waits in the background ends with it
	close   context.CancelFunc
}

// Version returns what the engine said of itself when it was connected to.
func (e *Engine) Version() Version { return e.version }

// Host returns the address in use, as DOCKER_HOST would give it.
func (e *Engine) Host() string { return e.host }

// Alive asks the engine, over a new connection, whether it is still there: one that is shutting down goes on answering on those it has. Errors
// are those of [Connect].
func (e *Engine) Alive(ctx context.Context) error {
	again, err := Connect(ctx, e.address)
	if err != nil {
		return err
	}
	return again.Close()
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
