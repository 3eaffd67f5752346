package engine

import (
	"maps"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
)

// runOptions are the mount options of /run.
const runOptions = "rw,nosuid,nodev,noexec,mode=755,size=256m"

// hostShares is the weight of the host container where containers compete for processors, 1024 being that of every other: its taps have to
// keep up with all senders together.
const hostShares = 32 << 10

func (s *Spec) config(sysctls map[string]string) (*container.Config, *container.HostConfig) {
	labels := map[string]string{}
	maps.Copy(labels, s.Labels)
	labels[Label] = string(s.Kind)
	tmpfs := map[string]string{"/run": runOptions}
	maps.Copy(tmpfs, s.Tmpfs)

	config := &container.Config{
		Image:      s.Image,
		Cmd:        s.Args,
		Env:        s.Env,
		WorkingDir: s.WorkingDir,
		Labels:     labels,
		// Nothing outlives its stream: stdin ends with the attached stream, the program exits at its end, and the engine removes the container.
		OpenStdin:    true,
		StdinOnce:    true,
		AttachStdin:  true,
		AttachStdout: true,
		AttachStderr: true,
		// The engine's own networking takes half the time of a start, and has nothing to do for a namespace that we wire ourselves.
		NetworkDisabled: true,
	}
	host := &container.HostConfig{
		AutoRemove:     true,
		LogConfig:      container.LogConfig{Type: "none"}, // three times as fast as the default, and nothing on the engine's disk
		NetworkMode:    network.NetworkNone,
		ReadonlyRootfs: true,
		CapDrop:        []string{"ALL"},
		CapAdd:         s.Kind.capabilities(),
		SecurityOpt:    []string{"no-new-privileges:true"},
		Tmpfs:          tmpfs,
		Sysctls:        sysctls,
		Mounts:         s.Mounts,
	}
	if s.Kind != KindImage {
		// Our own programs. The engine compiles its filter of system calls anew for each container, a tenth of what a start costs.
		host.SecurityOpt = append(host.SecurityOpt, "seccomp=unconfined")
	}
	switch s.Kind {
	case KindHost:
		host.PidMode = "host"
		host.UsernsMode = "host" // on an engine that maps users, the mapped root may not load BPF programs
		host.CPUShares = hostShares
		if s.TUN {
			host.Devices = []container.DeviceMapping{{PathOnHost: "/dev/net/tun", PathInContainer: "/dev/net/tun", CgroupPermissions: "rw"}}
		}
		host.SecurityOpt = append(host.SecurityOpt, "apparmor=unconfined") // docker-default denies mount, which bpffs needs
	case KindTest:
		host.UsernsMode = "host"
		host.SecurityOpt = append(host.SecurityOpt, "apparmor=unconfined")
	case KindImage:
		// The engine refuses sysctls and a network setting of its own for a container in another's namespace.
		config.NetworkDisabled = false
		host.NetworkMode, host.PidMode = container.NetworkMode("container:"+s.Within.ID), container.PidMode("container:"+s.Within.ID)
		host.Sysctls = nil
		host.ReadonlyRootfs = false
		if s.NetAdmin {
			host.CapAdd = append(host.CapAdd, "NET_ADMIN")
		}
	case KindClient, KindWorker:
	}
	return config, host
}

func (s *Spec) sysctls() map[string]string {
	disable := "1"
	if s.IPv6 {
		disable = "0" // said as well, since some engines disable IPv6 where there is no network
	}
	all := map[string]string{
		"net.ipv6.conf.all.disable_ipv6":     disable,
		"net.ipv6.conf.default.disable_ipv6": disable,
	}
	if s.Kind == KindClient || s.Kind == KindWorker {
		all["net.ipv4.ip_unprivileged_port_start"] = "0" // they serve on port 80 without NET_BIND_SERVICE
	}
	return all
}
