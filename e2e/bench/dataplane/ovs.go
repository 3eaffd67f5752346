package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ovs is Open vSwitch: a flow a client takes the tag off, and its learn() makes the flow for the way back. It needs the kernel's
// module and the programs of Debian's openvswitch-switch.
func ovs() variant {
	return variant{name: "ovs-learn", tagged: true, optional: true, attach: func(ctx context.Context, p *path, clients int) (*running, error) {
		if _, err := netlink.GenlFamilyGet("ovs_datapath"); err != nil {
			return nil, fmt.Errorf("asking the kernel for Open vSwitch (module openvswitch): %w", err)
		}
		folder, err := os.MkdirTemp("", "ovs-")
		if err != nil {
			return nil, err
		}
		o := &openVSwitch{host: p.host, folder: folder}
		p.keep(o)
		return &running{}, o.start(ctx, clients)
	}}
}

// openVSwitch has a database, sockets and processes of its own: nothing of the machine's is touched.
type openVSwitch struct {
	host    *namespace
	folder  string
	daemons []daemon
}

// daemon is a process that runs until its Close.
type daemon struct {
	cmd   *exec.Cmd
	ended <-chan error // closed when it has
}

// start makes a bridge of trunk and worker.
func (o *openVSwitch) start(ctx context.Context, clients int) error {
	database, socket := filepath.Join(o.folder, "db"), "unix:"+filepath.Join(o.folder, "db.sock")
	if err := o.run(ctx, "ovsdb-tool", "create", database); err != nil {
		return err
	}
	if err := o.serve(ctx, "ovsdb-server", "--remote=p"+socket, database); err != nil {
		return err
	}
	// The kernel's flows stay while the other variants have their turns.
	err := o.run(ctx, "ovs-vsctl", "--db="+socket, "--retry", "--timeout=60", "--no-wait", "init", "--", "set", "Open_vSwitch", ".", "other_config:max-idle=3600000")
	if err != nil {
		return err
	}
	if err := awaitUptime(ctx, 11*time.Second); err != nil {
		return err
	}
	if err := o.serve(ctx, "ovs-vswitchd", socket); err != nil {
		return err
	}
	err = o.run(ctx, "ovs-vsctl", "--db="+socket, "--timeout=60", "add-br", "br", "--", "set-fail-mode", "br", "secure", "--",
		"add-port", "br", trunkName, "--", "add-port", "br", workerEnd)
	if err != nil {
		return err
	}
	var flows strings.Builder // a frame without one is dropped
	fmt.Fprintf(&flows, "in_port=%s,actions=resubmit(,1)\n", workerEnd)
	for i := range clients {
		fmt.Fprintf(&flows, "in_port=%s,vlan_tci=0x1000/0x1000,dl_src=%s,actions=learn(table=1,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],"+
			"load:NXM_OF_VLAN_TCI[]->NXM_OF_VLAN_TCI[],output:NXM_OF_IN_PORT[]),strip_vlan,output:%s\n", trunkName, clientMAC(i), workerEnd)
	}
	file := filepath.Join(o.folder, "flows")
	if err := os.WriteFile(file, []byte(flows.String()), 0o600); err != nil {
		return err
	}
	return o.run(ctx, "ovs-ofctl", "add-flows", "br", file)
}

// awaitUptime waits until the machine has been up for so long: in the first ten seconds, Open vSwitch 3.1 finds no processors to
// handle frames of new flows on.
func awaitUptime(ctx context.Context, uptime time.Duration) error {
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &up); err != nil {
		return err
	}
	select {
	case <-time.After(uptime - time.Duration(up.Nano())):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// command is one of Open vSwitch's programs, whose daemons a user's PATH does not have.
func (o *openVSwitch) command(ctx context.Context, name string, args ...string) (*exec.Cmd, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/" + name); err != nil {
			return nil, fmt.Errorf("looking for Open vSwitch's programs (Debian's openvswitch-switch): %w", err)
		}
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "OVS_RUNDIR="+o.folder, "OVS_LOGDIR="+o.folder, "OVS_DBDIR="+o.folder)
	return cmd, nil
}

func (o *openVSwitch) run(ctx context.Context, name string, args ...string) error {
	cmd, err := o.command(ctx, name, args...)
	if err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("running %s: %w: %s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}

// serve starts a daemon on a thread that waits for it. The kernel ends the daemon with the thread, so with the bench, however that ends.
func (o *openVSwitch) serve(ctx context.Context, name string, args ...string) error {
	cmd, err := o.command(ctx, name, append(args, "--verbose=console:err", "--verbose=syslog:off", "--verbose=netlink_socket:off")...)
	if err != nil {
		return err
	}
	cmd.Stderr, cmd.SysProcAttr = os.Stderr, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	states := make(chan error, 2) // how it started, then how it ended
	go func() {
		defer close(states)
		states <- o.host.do(func() error {
			err := cmd.Start()
			states <- err
			if err == nil {
				err = cmd.Wait()
			}
			return err
		})
	}()
	if err := <-states; err != nil {
		return fmt.Errorf("starting %s: %w", name, err)
	}
	o.daemons = append(o.daemons, daemon{cmd, states})
	return nil
}

func (o *openVSwitch) Close() error {
	for _, d := range o.daemons {
		_ = d.cmd.Process.Kill() // it may have ended
		for range d.ended {
		}
	}
	return os.RemoveAll(o.folder)
}
