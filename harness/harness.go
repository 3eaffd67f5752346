package harness

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/vlandemux/vlandemux/harness/internal/engine"
	"github.com/vlandemux/vlandemux/harness/internal/images"
)

// WhileAlive returns a context that ends when the engine does not answer any more, and says so. It is to be cancelled.
func (h *Harness) WhileAlive(ctx context.Context) (context.Context, context.CancelFunc) {
	return h.engine.WhileAlive(ctx)
}

// Images are the IDs of the images that labs are made from.
type Images = images.Set

// Guard allows the harness to start the program a second time, as a process that removes
// the containers it has created and not started when it was killed.
type Guard = engine.Guard

// StandGuard is called at the beginning of the main function, or of TestMain. In
// a process that is a guard it does the guard's work and ends the process; in any
// other it returns at once.
func StandGuard() Guard { return engine.StandGuard() }

// Options of a [Harness]. The zero value works.
type Options struct {
	// Engine is the engine's address, as DOCKER_HOST takes it, or the name of a
	// context of the docker command. Optional: the one that the docker command uses.
	Engine string
	// Images that are loaded already, as another process's [Harness.Images]
	// gave them. Optional: they are built and loaded where they are missing.
	Images Images
	// Guard is what [StandGuard] returned. Optional: if the program is killed just
	// before a container starts, the container stays until the next run.
	Guard Guard
	// Once ends a lab's containers with it: there is no next one to use them. Optional.
	Once bool
	// Log is told what takes more than a moment. Optional.
	Log io.Writer
}

// Harness is a Docker engine with the lab's images in it. It is safe for
// concurrent use and may run any number of labs at once.
type Harness struct {
	engine *engine.Engine
	images Images
	log    io.Writer
	pool   *pool
}

// Connect finds the Docker engine and sees that the images are there. Its errors say what is missing and what to do about it.
func Connect(ctx context.Context, opts Options) (*Harness, error) {
	h := &Harness{log: opts.Log, images: opts.Images}
	if h.log == nil {
		h.log = io.Discard
	}
	var token [4]byte
	if _, err := rand.Read(token[:]); err != nil {
		return nil, fmt.Errorf("drawing a name for this run: %w", err)
	}
	var err error
	if h.engine, err = engine.Connect(ctx, opts.Engine); err != nil {
		return nil, err
	}
	h.engine.UseGuard(opts.Guard)
	processors, err := h.engine.Processors(ctx)
	if err != nil {
		return nil, errors.Join(err, h.engine.Close())
	}
	// The run is in each container's name: two runs on one engine never share one.
	h.pool = &pool{
		engine: h.engine, once: opts.Once, run: hex.EncodeToString(token[:]), idle: map[containerKind][]*container{}, missing: map[SwitchKind]string{},
		starting: make(chan struct{}, 2*max(processors, 2)),
	}
	if h.images == (Images{}) {
		progress := func(text string) { fmt.Fprintln(h.log, text) }
		if h.images, err = images.Ensure(ctx, h.engine, progress); err != nil {
			return nil, errors.Join(err, h.Close())
		}
	}
	return h, nil
}

// Alive asks the engine whether it is still there.
func (h *Harness) Alive(ctx context.Context) error { return h.engine.Alive(ctx) }

// Images are the IDs of the images labs are made from.
func (h *Harness) Images() Images { return h.images }

// Close ends the containers that no lab uses and the connection to Docker.
// Labs are closed before it. It is an error if a container of this run is left.
func (h *Harness) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := h.pool.close(ctx)
	left, listErr := h.engine.Leftovers(ctx, RunLabel+"="+h.pool.run)
	if len(left) > 0 {
		err = errors.Join(err, fmt.Errorf("containers are left: %v", left))
	}
	return errors.Join(err, listErr, h.engine.Close())
}

// Start connects, starts a lab and closes the connection with it: all a
// program with one lab needs.
func Start(ctx context.Context, topology Topology) (*Lab, error) {
	if err := topology.Validate(); err != nil {
		return nil, err
	}
	h, err := Connect(ctx, Options{Once: true})
	if err != nil {
		return nil, err
	}
	lab, err := h.Start(ctx, topology, 0)
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	lab.onClose = h.Close
	return lab, nil
}
