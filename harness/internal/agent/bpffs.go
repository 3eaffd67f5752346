package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// bpffsPath is where programs look for the BPF file system.
const bpffsPath = "/sys/fs/bpf"

// mountBPFFS mounts a new BPF file system. In a container's mount namespace it belongs to the container alone and goes with it,
// and with it whatever was pinned there.
func mountBPFFS(path string) error {
	err := unix.Mount("bpf", path, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700")
	if err == nil {
		return nil
	}
	advice := "see the error of mount(2)"
	// The kernel's first user namespace has this number on every machine (PROC_USER_INIT_INO).
	namespace, _ := os.Readlink("/proc/self/ns/user")
	switch {
	case errors.Is(err, unix.EPERM) && namespace != "user:[4026531837]":
		advice = "this engine runs in a user namespace, as rootless Docker does, and only the machine's own root may mount one: " +
			"use an engine that root runs, such as DOCKER_HOST=unix:///var/run/docker.sock"
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		advice = "the host container needs CAP_SYS_ADMIN, and apparmor=unconfined where AppArmor is in use (docker-default denies mounts)"
	case errors.Is(err, unix.ENODEV):
		advice = "this kernel has no BPF file system: it needs CONFIG_BPF_SYSCALL=y"
	case errors.Is(err, fs.ErrNotExist):
		advice = "the folder is not there: this kernel was built without CONFIG_BPF_SYSCALL, or /sys is not mounted"
	}
	return fmt.Errorf("mounting a BPF file system on %s: %w; %s", path, err, advice)
}
