package guest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/images/vm/internal/protocol"
)

type mount struct {
	source, target, kind string
	flags                uintptr
	options              string
}

// kernelMounts returns the views of the kernel that everything else needs.
func kernelMounts() []mount {
	return []mount{
		{"devtmpfs", "/dev", "devtmpfs", unix.MS_NOSUID, ""},
		{"proc", "/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"sysfs", "/sys", "sysfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
	}
}

// Where the pieces of the root file system are before it becomes the root.
const (
	stage    = "/vm/stage" // a tmpfs: changes to the host's files end up here
	hostRoot = stage + "/host"
	newRoot  = stage + "/root"
)

// rootMounts returns what puts a throw-away overlay on the host's files.
func rootMounts() []mount {
	return []mount{
		{"tmpfs", stage, "tmpfs", 0, "size=75%,mode=0755"},
		{protocol.RootTag, hostRoot, "9p", unix.MS_RDONLY, "trans=virtio,version=9p2000.L,msize=512000,cache=loose"},
		{"overlay", newRoot, "overlay", 0, "lowerdir=" + hostRoot + ",upperdir=" + stage + "/upper,workdir=" + stage + "/work"},
	}
}

// systemMounts returns what programs expect on a running system. The host's own are not shown: these are the guest's.
func systemMounts() []mount {
	return []mount{
		{"tmpfs", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755"},
		{"tmpfs", "/var/lib/docker", "tmpfs", 0, "size=75%,mode=0711"},
		{"tmpfs", "/etc/docker", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0700"}, // the host's settings are about the host
		{"devpts", "/dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "mode=0620,gid=5,ptmxmode=0666"},
		{"tmpfs", "/dev/shm", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
		{"mqueue", "/dev/mqueue", "mqueue", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"cgroup2", "/sys/fs/cgroup", "cgroup2", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "nsdelegate"},
		{"bpf", "/sys/fs/bpf", "bpf", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "mode=0700"},
		{"tracefs", "/sys/kernel/tracing", "tracefs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
	}
}

// mountAll mounts file systems in order, making their mount points where that is possible.
func mountAll(mounts []mount) error {
	for _, m := range mounts {
		_ = os.MkdirAll(m.target, 0o755) // on file systems of the kernel it fails, and is there already
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, m.options); err != nil {
			return fmt.Errorf("mounting %s (%s): %w", m.target, m.kind, err)
		}
	}
	return nil
}

// makeRoot assembles the root file system at newRoot.
func makeRoot() error {
	if err := mountAll(rootMounts()[:1]); err != nil {
		return err
	}
	for _, dir := range []string{stage + "/upper", stage + "/work"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	return mountAll(rootMounts()[1:])
}

// enterRoot makes newRoot the root of this process and of all that it starts. The initramfs itself cannot be pivoted
// away from: it is moved over, as every boot does, so that containers can pivot out of what they see.
func enterRoot() error {
	for _, m := range kernelMounts() {
		if err := unix.Mount(m.target, newRoot+m.target, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("moving %s: %w", m.target, err)
		}
	}
	if err := os.Chdir(newRoot); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("moving the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("entering the root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("sharing mounts: %w", err)
	}
	return nil
}

// mountShares mounts the directories of the host which the guest may change. Nothing is held back in the guest: what is
// written is on the host when the write returns.
func mountShares(shares []protocol.Share) error {
	var mounts []mount
	for _, share := range shares {
		mounts = append(mounts, mount{share.Tag, share.Path, "9p", 0, "trans=virtio,version=9p2000.L,msize=512000,cache=none"})
	}
	return mountAll(mounts)
}

// linkDescriptors makes the links in /dev which programs expect and devtmpfs does not have.
func linkDescriptors() error {
	for name, target := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
	} {
		if err := os.Symlink(target, "/dev/"+name); err != nil && !os.IsExist(err) {
			return err
		}
	}
	return nil
}

// loadModules loads the kernel modules in a directory in the order of their names, and removes the directory: an initramfs
// stays in memory as long as the machine runs.
func loadModules(dir string) error {
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil // all of them are built into this kernel
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), protocol.ModuleOptions) {
			continue
		}
		if err := loadModule(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return os.RemoveAll(dir)
}

func loadModule(path string) error {
	options, err := os.ReadFile(path + protocol.ModuleOptions)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := unix.FinitModule(int(file.Fd()), string(options), 0); err != nil {
		return fmt.Errorf("loading kernel module %s: %w", filepath.Base(path), err)
	}
	return nil
}
