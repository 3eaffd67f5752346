package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
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

// Kind decides what a container may do.
type Kind string

const (
	// KindHost wires the lab and runs the demux: NET_ADMIN, SYS_ADMIN, NET_RAW and SYSLOG, and the engine's process namespace, since it
	// enters the network namespaces of the other containers by their process IDs.
	KindHost Kind = "host"
	// KindClient is a client of the lab: NET_RAW only.
	KindClient Kind = "client"
	// KindWorker is a worker of the lab: NET_RAW only.
	KindWorker Kind = "worker"
	// KindImage is a program of any image within another container, see [Spec.Within]: NET_RAW only, and a root that it may write to.
	KindImage Kind = "image"
	// KindTest runs one test program: the host's capabilities, but a process namespace of its own.
	KindTest Kind = "test"
)

// Spec describes a container to start. Every kind but [KindImage] gets network none and a read-only root; all get a tmpfs /run and no-new-privileges, and a [KindImage] the engine's seccomp filter.
type Spec struct {
	// Name is the container's name: unique on the engine.
	Name string
	// Image is an image ID or name. It is never pulled.
	Image string
	// Kind decides the capabilities.
	Kind Kind
	// TUN gives a [KindHost] /dev/net/tun. Optional.
	TUN bool
	// Within is the container whose network and process namespaces a [KindImage] runs in. The kernel ends it with that container's first process,
	// whatever it does with its own stdin. All it writes is logged.
	Within *Container
	// NetAdmin adds NET_ADMIN to a [KindImage]. Optional.
	NetAdmin bool
	// Labels are added to [Label]. Optional.
	Labels map[string]string
	// IPv6 leaves IPv6 on; without it, it is disabled on every interface the container gets.
	IPv6 bool
	// Args follow the image's entry point. Optional.
	Args []string
	// Env holds variables as NAME=VALUE. Optional.
	Env []string
	// WorkingDir is the folder the program starts in. Optional.
	WorkingDir string
	// Tmpfs maps folders to mount options (e.g. "exec,mode=1777"), beside /run. Optional.
	Tmpfs map[string]string
	// Mounts of the engine's machine. Optional.
	Mounts []mount.Mount
	// Stderr receives a copy of what the container writes on stderr, while it writes it. Optional.
	Stderr io.Writer
}

// capabilities returns what is added to an empty set.
func (k Kind) capabilities() []string {
	switch k {
	case KindHost, KindTest:
		// NET_ADMIN: links, qdiscs, BPF of type sched_cls. SYS_ADMIN: setns, mount, and BPF on engines that know no CAP_BPF. NET_RAW: to
		// open /proc/PID/ns/net of a container, one needs a superset of its capabilities.
		// SYSLOG: the kernel's log, for the evidence of a failure.
		return []string{"NET_ADMIN", "SYS_ADMIN", "NET_RAW", "SYSLOG"}
	default:
		return []string{"NET_RAW"}
	}
}
