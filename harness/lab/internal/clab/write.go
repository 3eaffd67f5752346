package clab

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/vlandemux/vlandemux/harness"
)

// Images are those that containerlab starts.
type Images struct {
	Host string // has /vlandemux
	Node string // of clients and workers without an image, and of the switch: with sh, ip and sleep, as busybox has them
}

// hostName is the host's in files that are written: containerlab takes a node called host for the machine that it runs on.
const hostName = "demux"

// Write gives a topology as a file that containerlab deploys. The switch is made of VLAN subinterfaces and bridges.
func Write(name string, t harness.Topology, images Images) ([]byte, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	if len(t.Tunnels) > 0 || t.Demux.Contract != nil {
		return nil, errors.New("writing the topology for containerlab: tunnels and other dataplanes have no place in it")
	}
	var f file
	empty := ""
	f.Name, f.Prefix = name, &empty
	f.Topology.Nodes = map[string]node{}
	plain := node{Kind: "linux", Image: images.Node, Cmd: "sleep 1000000000", NetworkMode: "none"}
	host, ports := plain, plain
	host.Image, host.Entrypoint, host.Cmd = images.Host, "/vlandemux", "run --bpffs= "+join(t.Arguments())
	host.Labels, ports.Labels = map[string]string{roleLabel: "host"}, map[string]string{roleLabel: "switch"}
	connect := func(a, b string) { f.Topology.Links = append(f.Topology.Links, link{Endpoints: []string{a, b}}) }
	for i := range max(t.Trunks, 1) {
		connect(fmt.Sprintf("switch:trunk%d", i), fmt.Sprintf("%s:trunk%d", hostName, i))
	}
	made := map[string]bool{}
	for _, c := range t.Clients {
		n := export(plain, c.MAC, c.Addresses, c.Image)
		n.Labels[vlanLabel], n.Labels[trunkLabel] = c.VLAN.String(), fmt.Sprint(c.Trunk)
		if c.Worker != "" {
			n.Labels[workerLabel] = c.Worker
		}
		f.Topology.Nodes[c.Name] = n
		connect(c.Name+":eth0", "switch:"+c.Name)
		// An interface name has 15 characters at most.
		sub := fmt.Sprintf("t%d%s%d", c.Trunk, map[uint16]string{harness.Dot1Q: "q", harness.Dot1AD: "ad"}[c.VLAN.Protocol], c.VLAN.VID)
		if !made[sub] {
			made[sub] = true
			protocol, _, _ := strings.Cut(c.VLAN.String(), " ")
			ports.Exec = append(ports.Exec,
				fmt.Sprintf("ip link add link trunk%d name %s type vlan protocol %s id %d", c.Trunk, sub, protocol, c.VLAN.VID),
				"ip link add b"+sub+" type bridge", "ip link set "+sub+" master b"+sub, "ip link set "+sub+" up", "ip link set b"+sub+" up")
		}
		ports.Exec = append(ports.Exec, "ip link set "+c.Name+" master b"+sub)
	}
	for _, w := range t.Workers {
		if w.Kind != "" || w.InHost {
			return nil, fmt.Errorf("writing worker %s for containerlab: its link is no veth between two nodes", w.Name)
		}
		n := export(plain, w.MAC, w.Addresses, w.Image)
		f.Topology.Nodes[w.Name] = n
		connect(hostName+":"+w.Name, w.Name+":eth0")
	}
	f.Topology.Nodes[hostName], f.Topology.Nodes["switch"] = host, ports
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := errors.Join(encoder.Encode(&f), encoder.Close()); err != nil {
		return nil, fmt.Errorf("writing the topology for containerlab: %w", err)
	}
	return out.Bytes(), nil
}

// export is a client or worker, on a plain node or with an image of its own.
func export(plain node, mac harness.MAC, addresses []netip.Prefix, image *harness.Image) node {
	n := plain
	n.Labels = map[string]string{macLabel: mac.String()}
	var texts []string
	for _, a := range addresses {
		texts = append(texts, a.String())
	}
	if len(texts) > 0 {
		n.Labels[addressLabel] = strings.Join(texts, ",")
	}
	if image == nil {
		n.Labels[builtinLabel] = "true"
		n.Exec = append(n.Exec, "ip link set eth0 address "+mac.String())
		for _, a := range texts {
			n.Exec = append(n.Exec, "ip addr add "+a+" dev eth0")
		}
		return n
	}
	n.Image, n.Cmd, n.Env = image.Name, join(image.Command), map[string]string{}
	for _, variable := range image.Environment {
		key, value, _ := strings.Cut(variable, "=")
		n.Env[key] = value
	}
	if image.NetAdmin {
		n.CapAdd = []string{"NET_ADMIN"}
	}
	for _, m := range image.Mounts {
		bind := m.Source + ":" + m.Target
		if !m.Writable {
			bind += ":ro"
		}
		n.Binds = append(n.Binds, bind)
	}
	return n
}
