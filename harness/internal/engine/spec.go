package engine

import (
	"io"

	"github.com/docker/docker/api/types/mount"
)

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

// Spec describes a container to start. Every kind but [KindImage] gets network none and a read-only root; all get a tmpfs /run and no-new-privileges.
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
