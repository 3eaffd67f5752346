package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ovs is Open vSwitch with learn(): a frame of a client takes its tag off and leaves a flow for the way back. It needs the
// kernel's module and the programs of Debian's openvswitch-switch.
func ovs() variant {
	return variant{name: "ovs-learn", tagged: true, attach: func(ctx context.Context, p *path, clients int) (*running, error) {
		folder, err := os.MkdirTemp("", "ovs-")
		if err != nil {
			return nil, err
		}
		o := &openVSwitch{path: p, folder: folder}
		p.keep(o)
		database, socket := filepath.Join(folder, "db"), "unix:"+filepath.Join(folder, "db.sock")
		flows := []string{"priority=0,actions=drop", "in_port=" + workerEnd + ",actions=resubmit(,1)"}
		for i := range clients {
			flows = append(flows, fmt.Sprintf("in_port=%s,dl_src=%s,actions=learn(table=1,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],"+
				"load:NXM_OF_VLAN_TCI[]->NXM_OF_VLAN_TCI[],output:NXM_OF_IN_PORT[]),strip_vlan,output:%s", trunkName, clientMAC(i), workerEnd))
		}
		return &running{}, errors.Join(
			o.command(ctx, "ovsdb-tool", "create", database, "/usr/share/openvswitch/vswitch.ovsschema"),
			o.daemon("ovsdb-server", "--remote=p"+socket, "--no-chdir", database),
			o.command(ctx, "ovs-vsctl", "--db="+socket, "--retry", "--no-wait", "init"),
			o.daemon("ovs-vswitchd", "--no-chdir", socket),
			o.command(ctx, "ovs-vsctl", "--db="+socket, "--timeout=60", "add-br", "br", "--", "add-port", "br", trunkName, "--", "add-port", "br", workerEnd),
			o.command(ctx, "ovs-ofctl", "del-flows", "br"),
			o.flows(ctx, flows))
	}}
}

// openVSwitch has its own database, sockets and processes.
type openVSwitch struct {
	path    *path
	folder  string
	daemons []*exec.Cmd
}

func (o *openVSwitch) prepare(cmd *exec.Cmd) *exec.Cmd {
	cmd.Env = append(os.Environ(), "OVS_RUNDIR="+o.folder, "OVS_LOGDIR="+o.folder, "PATH="+os.Getenv("PATH")+":/usr/sbin:/usr/bin")
	return cmd
}

func (o *openVSwitch) command(ctx context.Context, name string, args ...string) error {
	return o.path.host.do(func() error {
		if out, err := o.prepare(exec.CommandContext(ctx, name, args...)).CombinedOutput(); err != nil {
			return fmt.Errorf("running %s %s: %w: %s", name, strings.Join(args, " "), err, out)
		}
		return nil
	})
}

func (o *openVSwitch) flows(ctx context.Context, flows []string) error {
	file := filepath.Join(o.folder, "flows")
	if err := os.WriteFile(file, []byte(strings.Join(flows, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	return o.command(ctx, "ovs-ofctl", "add-flows", "br", file)
}

func (o *openVSwitch) daemon(name string, args ...string) error {
	cmd := o.prepare(exec.CommandContext(context.Background(), name, args...))
	if err := o.path.host.do(cmd.Start); err != nil {
		return fmt.Errorf("starting %s: %w", name, err)
	}
	o.daemons = append(o.daemons, cmd)
	return nil
}

func (o *openVSwitch) Close() error {
	for _, cmd := range o.daemons {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	}
	return os.RemoveAll(o.folder)
}
