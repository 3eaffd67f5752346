// Package session boots a machine, has it run one command, and passes on what the command says and how it ends.
package session

import (
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/vlandemux/vlandemux/images/vm/internal/guest"
	"github.com/vlandemux/vlandemux/images/vm/internal/initramfs"
	"github.com/vlandemux/vlandemux/images/vm/internal/kernel"
	"github.com/vlandemux/vlandemux/images/vm/internal/machine"
	"github.com/vlandemux/vlandemux/images/vm/internal/protocol"
)

// Options say what to run and in what.
type Options struct {
	// Kernel is a series ("6.1"), or the path of a .deb or of a folder: see [kernel.Open].
	Kernel string
	// Sources name the archives a series is taken from, in the format of sources.list(5). Empty: this machine's own.
	Sources string
	// Modules are loaded in the guest.
	Modules kernel.Modules
	// Args is the command, looked for on the host's file system as the guest sees it.
	Args []string
	// Env is what the command gets as its environment, as NAME=VALUE, and besides VLANDEMUX_VM_KERNEL, the kernel's package or
	// path, and VLANDEMUX_VM_ACCEL, "kvm" or "tcg".
	Env []string
	// Dir is the command's working directory.
	Dir string
	// Docker starts a Docker engine before the command.
	Docker bool
	// Shares are directories of the host which the command may change, absolute.
	Shares []string
	// Processors is the number of the guest's processors.
	Processors int
	// Memory is the guest's, in MiB.
	Memory int
	// Stdout and Stderr take the command's output as it comes.
	Stdout, Stderr io.Writer
	// Notice is called with lines for the user about the machine.
	Notice func(string)
	// Signals are passed on to the command. A second one, or one before the command runs, ends the machine.
	Signals <-chan os.Signal

	acceleration machine.Acceleration
}

// Result is how a session went.
type Result struct {
	// Status is the command's exit status: its own, or 128 and the number of the signal that ended it.
	Status int
	// Console is what the guest's kernel printed, the newest MiB of it.
	Console string
	// Suspect tells that the console is worth reading: the kernel complained there, or the machine ended or hung
	// without telling why.
	Suspect bool
}

// Run runs the command. An error says that the machine failed, or that its kernel complained, whatever the command made of it;
// the result counts then too. When ctx ends, the command is interrupted and has a moment to say what it was doing; then the
// machine ends.
func Run(ctx context.Context, opts Options) (Result, error) {
	boot, memory, shares, err := prepare(ctx, &opts)
	if err != nil {
		return Result{}, err
	}
	defer boot.Close()
	defer memory.Close()
	m, err := machine.Start(ctx, machine.Options{
		Kernel: boot.Image, Initramfs: memory, Acceleration: opts.acceleration,
		Processors: opts.Processors, Memory: opts.Memory, Shares: shares,
	})
	if err != nil {
		return Result{}, err
	}
	return follow(ctx, opts, m)
}

// prepare collects what the machine boots from. The caller closes boot and memory.
func prepare(ctx context.Context, opts *Options) (boot *kernel.Boot, memory *os.File, shares []protocol.Share, err error) {
	if err := check(*opts); err != nil {
		return nil, nil, nil, err
	}
	store, err := kernel.UserStore()
	if err != nil {
		return nil, nil, nil, err
	}
	if boot, err = kernel.Open(ctx, store, opts.Kernel, opts.Sources, opts.Modules, opts.Notice); err != nil {
		return nil, nil, nil, err
	}
	opts.acceleration = machine.DetectAcceleration("/")
	opts.Notice(fmt.Sprintf("%s (%s), QEMU with %s (%s), %d processors, %d MiB", boot.Name, boot.From,
		strings.ToUpper(opts.acceleration.Name), opts.acceleration.Reason, opts.Processors, opts.Memory))
	opts.Env = append(slices.Clone(opts.Env), "VLANDEMUX_VM_KERNEL="+boot.Name, "VLANDEMUX_VM_ACCEL="+opts.acceleration.Name)
	shares = numberShares(opts.Shares)
	if memory, err = makeInitramfs(*opts, boot, shares); err != nil {
		return nil, nil, nil, errors.Join(err, boot.Close())
	}
	return boot, memory, shares, nil
}

// check finds out what is missing before anything takes long.
func check(opts Options) error {
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("starting a virtual machine: it runs this machine's programs on an x86-64 kernel, and this machine is %s", runtime.GOARCH)
	}
	if _, err := machine.Find(); err != nil {
		return err
	}
	program, err := elf.Open("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("looking at this program: %w", err)
	}
	defer program.Close()
	if program.Section(".interp") != nil {
		return errors.New("starting a virtual machine: this program, its process 1, needs shared libraries: build it with CGO_ENABLED=0")
	}
	if opts.Docker {
		if _, err := guest.LookPath("dockerd", guest.SystemPath); err != nil {
			return fmt.Errorf("starting a Docker engine in the machine needs dockerd on this one: install the package docker.io, or pass --no-docker: %w", err)
		}
	}
	for _, share := range opts.Shares {
		if info, err := os.Stat(share); err != nil || !info.IsDir() {
			return fmt.Errorf("sharing %s: it is not a directory", share)
		}
	}
	return nil
}

// numberShares gives each shared directory a tag.
func numberShares(paths []string) []protocol.Share {
	var shares []protocol.Share
	for i, path := range paths {
		shares = append(shares, protocol.Share{Tag: fmt.Sprintf("share%d", i), Path: path})
	}
	return shares
}

// makeInitramfs returns what the guest boots from: the kernel's modules, the init and its orders.
func makeInitramfs(opts Options, boot *kernel.Boot, shares []protocol.Share) (*os.File, error) {
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return nil, fmt.Errorf("reading this program, the guest's init: %w", err)
	}
	config, err := json.Marshal(protocol.Config{Args: opts.Args, Env: opts.Env, Dir: opts.Dir, Docker: opts.Docker, Shares: shares})
	if err != nil {
		return nil, err
	}
	return initramfs.InMemory("initramfs", func(w io.Writer) error {
		if _, err := io.Copy(w, boot.Modules); err != nil {
			return fmt.Errorf("reading the modules of %s: %w", boot.Name, err)
		}
		return initramfs.Write(w, []initramfs.File{
			{Path: guest.Init, Executable: true, Content: program},
			{Path: protocol.ConfigPath, Content: config},
		})
	})
}

// Limits of patience.
const (
	// bootPatience is for the kernel and the init, until they say something.
	bootPatience = 3 * time.Minute
	// interruptPatience is for a command that has been interrupted because time is up.
	interruptPatience = 15 * time.Second
	// offPatience is for a guest that powers off.
	offPatience = 15 * time.Second
)
