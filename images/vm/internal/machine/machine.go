// Package machine runs a virtual machine in QEMU which boots a given kernel and initramfs and sees the host's files.
package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/images/vm/internal/child"
	"github.com/vlandemux/vlandemux/images/vm/internal/protocol"
)

const program = "qemu-system-x86_64"

// Options describe a machine.
type Options struct {
	// Kernel is the bootable image, Initramfs its first file system. Both are read by the time Start returns a machine
	// that has booted; the caller closes them after Wait.
	Kernel, Initramfs *os.File
	// Acceleration is how processors are made.
	Acceleration Acceleration
	// Processors is their number.
	Processors int
	// Memory is in MiB.
	Memory int
	// Shares are directories of the host which the guest may change. Everything else it may only read.
	Shares []protocol.Share
}

// Machine is a running machine.
type Machine struct {
	// Control carries the messages of package protocol. Reads end when the machine does.
	Control *os.File
	// Console carries what the kernel and the init print. Reads end when the machine does.
	Console *os.File

	process *os.Process
	ended   <-chan error
	stderr  *bytes.Buffer // written by exec until ended has a value
}

// Find returns the path of the emulator, or an error that says how to get it.
func Find() (string, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return "", fmt.Errorf("starting a virtual machine needs QEMU: install the package qemu-system-x86: %w", err)
	}
	return path, nil
}

// Start starts a machine. It dies with this process, however that ends, and leaves nothing on the host. The end of ctx does not
// end it: what runs in it is to be interrupted first, and Kill is there.
func Start(ctx context.Context, opts Options) (*Machine, error) {
	path, err := Find()
	if err != nil {
		return nil, err
	}
	control, guestControl, err := socketPair("control")
	if err != nil {
		return nil, err
	}
	defer guestControl.Close()
	console, guestConsole, err := socketPair("console")
	if err != nil {
		control.Close()
		return nil, err
	}
	defer guestConsole.Close()

	files := []*os.File{opts.Kernel, opts.Initramfs, guestControl, guestConsole}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), path, arguments(opts)...)
	cmd.ExtraFiles = files
	m := &Machine{Control: control, Console: console, stderr: &bytes.Buffer{}}
	cmd.Stdout, cmd.Stderr = m.stderr, m.stderr
	if m.ended, err = child.Start(cmd); err != nil {
		control.Close()
		console.Close()
		return nil, fmt.Errorf("starting %s: %w", path, err)
	}
	m.process = cmd.Process
	return m, nil
}

// Kill ends the machine at once, like pulling the plug. Wait tells when it has.
func (m *Machine) Kill() { _ = m.process.Kill() }

// Ended returns a channel that carries one value when the machine is gone: nil if it was powered off, otherwise an
// error with what QEMU said.
func (m *Machine) Ended() <-chan error {
	out := make(chan error, 1)
	go func() {
		err := <-m.ended
		said := strings.TrimSpace(m.stderr.String())
		switch {
		case err != nil && said != "":
			err = fmt.Errorf("QEMU: %w: %s", err, said)
		case err != nil:
			err = fmt.Errorf("QEMU: %w", err)
		case said != "":
			err = errors.New("QEMU: " + said)
		}
		out <- err
	}()
	return out
}

// Descriptors of QEMU, in the order of exec.Cmd.ExtraFiles.
const (
	kernelFD = iota + 3
	initramfsFD
	controlFD
	consoleFD
)

func arguments(opts Options) []string {
	args := []string{"-machine", "q35"}
	args = append(args, opts.Acceleration.arguments()...)
	args = append(args,
		"-smp", strconv.Itoa(opts.Processors), "-m", strconv.Itoa(opts.Memory),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", descriptor(kernelFD), "-initrd", descriptor(initramfsFD), "-append", kernelArguments(opts.Acceleration),
		"-chardev", fmt.Sprintf("socket,id=console,fd=%d", consoleFD), "-serial", "chardev:console",
		"-device", "virtio-serial-pci",
		"-chardev", fmt.Sprintf("socket,id=control,fd=%d", controlFD),
		"-device", "virtserialport,chardev=control,name="+protocol.Port,
		"-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap",
		"-device", "virtio-9p-pci,fsdev=root,mount_tag="+protocol.RootTag,
	)
	for _, share := range opts.Shares {
		args = append(args,
			"-fsdev", fmt.Sprintf("local,id=%s,path=%s,security_model=none,multidevs=remap", share.Tag, escape(share.Path)),
			"-device", fmt.Sprintf("virtio-9p-pci,fsdev=%s,mount_tag=%s", share.Tag, share.Tag),
		)
	}
	return args
}

func kernelArguments(a Acceleration) string {
	args := []string{
		"console=ttyS0", "quiet", "loglevel=5",
		"panic=-1", "oops=panic", // the machine ends, and with -no-reboot QEMU does
		"mitigations=off", "nokaslr", "random.trust_cpu=on",
		"apparmor=0", // the guest does not load the profiles that dockerd would want to use
	}
	if a.Name == "tcg" {
		// A virtual processor is a thread which the host may not run for seconds: a watchdog would tell about the host,
		// and a timer that is to tick while the kernel starts is found broken: that panics.
		args = append(args, "tsc=reliable", "no_timer_check", "nowatchdog", "rcupdate.rcu_cpu_stall_suppress=1")
	}
	return strings.Join(args, " ")
}

// descriptor returns the path by which QEMU opens a file that it inherits.
func descriptor(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// escape makes a value safe for a QEMU option, in which a comma ends it.
func escape(value string) string { return strings.ReplaceAll(value, ",", ",,") }

// socketPair returns two connected sockets. The first can be used with deadlines; both close on exec.
func socketPair(name string) (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making the %s socket: %w", name, err)
	}
	if err := syscall.SetNonblock(fds[0], true); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("making the %s socket: %w", name, err), unix.Close(fds[0]), unix.Close(fds[1]))
	}
	return os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name), nil
}
