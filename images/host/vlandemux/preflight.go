package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// The oldest kernel that has all that the dataplane uses.
const (
	oldestMajor = 6
	oldestMinor = 1
)

// preflight finds every reason why a start cannot work, before it changes anything. It returns the
// kernel's release.
func preflight(settings config) (string, error) {
	release, kernelErr := checkKernel()
	var mistakes []error
	for _, err := range []error{kernelErr, checkCapabilities(), checkDescriptors(), checkBPFFS(settings.bpffs)} {
		if err != nil {
			mistakes = append(mistakes, err)
		}
	}
	if len(mistakes) > 0 {
		return "", &mistakesError{doing: "cannot start", mistakes: mistakes}
	}
	return release, nil
}

// checkKernel returns the kernel's release, and an error when it is too old.
func checkKernel() (string, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "", fmt.Errorf("asking for the kernel's version: %w", err)
	}
	release := unix.ByteSliceToString(name.Release[:])
	return release, checkRelease(release)
}

// checkRelease accepts what it cannot read: the kernel's own answer is the better one then.
func checkRelease(release string) error {
	var major, minor int
	if n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor); n < 2 {
		return nil
	}
	if major > oldestMajor || major == oldestMajor && minor >= oldestMinor {
		return nil
	}
	return fmt.Errorf("kernel %s is too old: vlandemux needs Linux %d.%d or newer", release, oldestMajor, oldestMinor)
}

// checkCapabilities names the capabilities that this process lacks.
func checkCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return fmt.Errorf("asking for this process's capabilities: %w", err)
	}
	return missingCapabilities(func(capability int) bool {
		return sets[capability/32].Effective&(1<<(capability%32)) != 0
	})
}

func missingCapabilities(has func(capability int) bool) error {
	var missing []string
	if !has(unix.CAP_NET_ADMIN) {
		missing = append(missing, "CAP_NET_ADMIN")
	}
	if !has(unix.CAP_BPF) && !has(unix.CAP_SYS_ADMIN) {
		missing = append(missing, "CAP_BPF (or CAP_SYS_ADMIN)")
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("this process lacks %s: run it as root (sudo) or in a container with these capabilities",
		strings.Join(missing, " and "))
}

// leastDescriptors is what it takes to take over from a process that was killed while it did: maps of two, and ours. Each
// trunk and worker takes one more.
const leastDescriptors = 192

// checkDescriptors is for a limit with which the kernel's answers would say nothing of it.
func checkDescriptors() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("asking for the limit of open files: %w", err)
	}
	if limit.Cur >= leastDescriptors {
		return nil
	}
	return fmt.Errorf("this process may have %d files open, and needs %d, and one for each trunk and worker: raise its limit (ulimit -n, LimitNOFILE=)",
		limit.Cur, leastDescriptors)
}

// checkBPFFS returns an error unless path can be a folder of pins: one that is or can be made in a BPF
// file system.
func checkBPFFS(path string) error {
	if path == "" {
		return nil
	}
	at := filepath.Clean(path)
	for at != filepath.Dir(at) {
		if _, err := os.Stat(at); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EPERM) { // EPERM: a dot, in a BPF file system
			break
		}
		at = filepath.Dir(at)
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(at, &stat); err != nil {
		return fmt.Errorf("looking for a BPF file system at %s: %w; mount one with `mount -t bpf bpf %s`, choose another --bpffs, "+
			`or --bpffs "" to pin nothing`, at, err, mountPoint(path))
	}
	if stat.Type == unix.BPF_FS_MAGIC {
		return checkPinFolder(at, filepath.Clean(path))
	}
	return fmt.Errorf("%s is not in a BPF file system: mount one with `mount -t bpf bpf %s`, choose another --bpffs, "+
		`or --bpffs "" to pin nothing`, path, mountPoint(path))
}

// checkPinFolder returns an error unless path, of which at is there, can be a folder of its own in a BPF file system.
func checkPinFolder(at, path string) error {
	if strings.Contains(strings.TrimPrefix(path, at), ".") {
		return fmt.Errorf("%s cannot be made: names in a BPF file system have no dots; choose another --bpffs", path)
	}
	var here, above unix.Stat_t
	if err := errors.Join(unix.Stat(path, &here), unix.Stat(filepath.Dir(path), &above)); err == nil && here.Dev != above.Dev {
		return fmt.Errorf("%s is a whole BPF file system: name a folder in it, such as --bpffs %s", path, filepath.Join(path, "vlandemux"))
	}
	return nil
}

// mountPoint is where a BPF file system should be for pins at path.
func mountPoint(path string) string {
	if strings.HasPrefix(filepath.Clean(path)+"/", "/sys/fs/bpf/") {
		return "/sys/fs/bpf"
	}
	return filepath.Dir(path)
}
