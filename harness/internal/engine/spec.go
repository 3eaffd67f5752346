package engine

import (
	"errors"
	"fmt"
	"io"
)

// Kind decides what a container may do.
type Kind string

const (
	// KindHost wires the lab and runs the demux: NET_ADMIN, SYS_ADMIN and NET_RAW, and the engine's process namespace, since it
	// enters the network namespaces of the other containers by their process IDs.
	KindHost Kind = "host"
	// KindClient is a client of the lab: NET_RAW only.
	KindClient Kind = "client"
	// KindWorker is a worker of the lab: NET_RAW only.
	KindWorker Kind = "worker"
	// KindTest runs one test program: the host's capabilities, but a process namespace of its own.
	KindTest Kind = "test"
)

// Spec describes a container to start. Every kind gets network none, a read-only root, a tmpfs /run and no-new-privileges.
type Spec struct {
	// Name is the container's name: unique on the engine.
	Name string
	// Image is an image ID or name. It is never pulled.
	Image string
	// Kind decides the capabilities.
	Kind Kind
	// Labels are added to [Label]. Optional.
	Labels map[string]string
	// Sysctls of the container's namespaces, added to those of its kind and stronger than them. Optional.
	Sysctls map[string]string
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
	// Stderr receives a copy of what the container writes on stderr, while it writes it. Optional.
	Stderr io.Writer
}

// validate names what is missing before the engine is asked.
func (s *Spec) validate() error {
	var errs []error
	if s.Name == "" {
		errs = append(errs, errors.New("the container has no name"))
	}
	if s.Image == "" {
		errs = append(errs, errors.New("the container has no image"))
	}
	switch s.Kind {
	case KindHost, KindClient, KindWorker, KindTest:
	default:
		errs = append(errs, fmt.Errorf("unknown kind of container %q", s.Kind))
	}
	return errors.Join(errs...)
}

// capabilities returns what is added to an empty set.
func (k Kind) capabilities() []string {
	switch k {
	case KindHost, KindTest:
		// NET_ADMIN: links, qdiscs, BPF of type sched_cls. SYS_ADMIN: setns, mount, and BPF on engines that know no CAP_BPF. NET_RAW: to
		// open /proc/PID/ns/net of a container, one needs a superset of its capabilities.
		return []string{"NET_ADMIN", "SYS_ADMIN", "NET_RAW"}
	default:
		return []string{"NET_RAW"}
	}
}
