// Package guest is process 1 of the virtual machine: it makes the machine look like the host, runs one command, tells the
// runner how it went, and powers off.
package guest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/images/vm/internal/protocol"
)

// Init is what the kernel calls this program.
const Init = "/init"

// Main does everything, and ends the machine.
func Main(ctx context.Context) {
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "vlandemux-init:", err) // on the console, which the runner shows
	}
	powerOff()
}

// run returns an error only when not even the line to the runner could be opened.
func run(ctx context.Context) error {
	if err := mountAll(kernelMounts()); err != nil {
		return err
	}
	text, err := os.ReadFile(protocol.ConfigPath)
	if err != nil {
		return err
	}
	var config protocol.Config
	if err := json.Unmarshal(text, &config); err != nil {
		return fmt.Errorf("reading %s: %w", protocol.ConfigPath, err)
	}
	if err := loadModules(protocol.BootModules); err != nil {
		return err
	}
	line, err := openPort()
	if err != nil {
		return err
	}
	if err := line.send(protocol.Message{Kind: protocol.Booted, Text: kernelRelease()}); err != nil {
		return fmt.Errorf("talking to the runner: %w", err)
	}
	last, err := runCommand(ctx, config, line)
	if err != nil {
		last = protocol.Message{Kind: protocol.Failed, Text: err.Error()}
	}
	unix.Sync()
	return line.send(last)
}

// runCommand prepares the machine, runs the command and returns how it ended.
func runCommand(ctx context.Context, config protocol.Config, line *port) (protocol.Message, error) {
	if err := prepare(config); err != nil {
		return protocol.Message{}, err
	}
	processes := newReaper()
	if config.Docker {
		if err := startDocker(processes); err != nil {
			return protocol.Message{}, err
		}
	}
	command, err := startCommand(config, processes, line)
	if err != nil {
		return protocol.Message{}, err
	}
	if err := line.send(protocol.Message{Kind: protocol.Started}); err != nil {
		return protocol.Message{}, err
	}
	go func() {
		_ = line.receive(ctx, func(m protocol.Message) {
			if m.Kind == protocol.Signal {
				command.signal(m.Signal)
			}
		})
	}()
	last := command.wait()
	last.Tainted, err = taint()
	return last, err
}

// prepare makes the machine look like the host.
func prepare(config protocol.Config) error {
	if err := makeRoot(); err != nil {
		return err
	}
	if err := loadModules(protocol.LateModules); err != nil {
		return err
	}
	if err := enterRoot(); err != nil {
		return err
	}
	if err := mountAll(systemMounts()); err != nil {
		return err
	}
	if err := linkDescriptors(); err != nil {
		return err
	}
	if err := mountShares(config.Shares); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte("vlandemux-vm")); err != nil {
		return fmt.Errorf("setting the host name: %w", err)
	}
	return loopbackUp()
}

func powerOff() {
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	select {} // process 1 must not end: the kernel would panic
}

// kernelRelease returns what uname -r prints.
func kernelRelease() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err.Error()
	}
	return unix.ByteSliceToString(name.Release[:])
}

// taint returns the flags by which the kernel remembers what happened to it.
func taint() (uint64, error) {
	text, err := os.ReadFile("/proc/sys/kernel/tainted")
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(string(bytes.TrimSpace(text)), 10, 64)
}

// loopbackUp sets the loopback interface up, the only one the machine has.
func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("setting lo up: %w", err)
	}
	return nil
}
