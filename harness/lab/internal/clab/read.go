package clab

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/harness"
)

// File is what a topology file describes.
type File struct {
	Name     string
	Topology harness.Topology
	// Exec are the commands that are run in each node once the lab is up.
	Exec map[string][][]string
}

// Read reads a topology file. Relative paths of binds are meant from folder. Every mistake is named.
func Read(data []byte, folder string) (*File, error) {
	var f file
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(&f); err != nil {
		return nil, fmt.Errorf("reading the topology: %w; labs of the harness have no other fields than these: %s", err, "name, prefix, topology with defaults, kinds, nodes and links")
	}
	r := reader{file: &f, folder: folder, read: &File{Name: f.Name, Exec: map[string][][]string{}}, nodes: map[string]node{}, roles: map[string]string{}}
	r.read.Topology.Trunks = 0
	r.merge()
	r.links()
	for _, name := range slices.Sorted(maps.Keys(r.nodes)) {
		r.node(name, r.nodes[name])
	}
	if len(r.wrong) == 0 {
		if err := r.read.Topology.Validate(); err != nil {
			r.wrong = append(r.wrong, err)
		}
	}
	if len(r.wrong) > 0 {
		return nil, fmt.Errorf("the topology cannot be a lab of the harness:\n%w", errors.Join(r.wrong...))
	}
	return r.read, nil
}

type reader struct {
	file   *file
	folder string
	read   *File
	nodes  map[string]node
	roles  map[string]string
	number byte // of the next MAC that is not given
	wrong  []error
}

func (r *reader) mistake(format string, args ...any) {
	r.wrong = append(r.wrong, fmt.Errorf(format, args...))
}

// merge gives each node what its kind and the defaults say, and finds switch and host.
func (r *reader) merge() {
	t := r.file.Topology
	for name, n := range t.Nodes {
		n.Kind = cmp.Or(n.Kind, t.Defaults.Kind)
		for _, more := range []node{t.Kinds[n.Kind], t.Defaults} {
			n.Image, n.Cmd, n.Entrypoint = cmp.Or(n.Image, more.Image), cmp.Or(n.Cmd, more.Cmd), cmp.Or(n.Entrypoint, more.Entrypoint)
			n.Env, n.Labels = merged(more.Env, n.Env), merged(more.Labels, n.Labels)
			n.Binds, n.CapAdd, n.Exec = slices.Concat(more.Binds, n.Binds), slices.Concat(more.CapAdd, n.CapAdd), slices.Concat(more.Exec, n.Exec)
		}
		r.nodes[name] = n
		switch role := n.Labels[roleLabel]; {
		case name == "host":
			r.mistake("node host: containerlab takes it for the machine that it runs on; the label %s says which node the host is", roleLabel)
		case role != "" && role != "host" && role != "switch":
			r.mistake("node %s: its label %s is %q, neither host nor switch", name, roleLabel, role)
		case role == "switch", strings.HasSuffix(n.Kind, "bridge"):
			r.roles[name] = "switch"
		case role == "host":
			r.roles[name] = "host"
		case n.Kind != "linux":
			r.mistake("node %s: its kind is %q; clients and workers are of kind linux", name, n.Kind)
		}
	}
	for _, role := range []string{"switch", "host"} {
		var of []string
		for name, is := range r.roles {
			if is == role {
				of = append(of, name)
			}
		}
		if len(of) != 1 {
			slices.Sort(of)
			r.mistake("%d nodes are the %s %v; one has to be, by its label %s", len(of), role, of, roleLabel)
		}
	}
}

func merged(base, over map[string]string) map[string]string {
	all := maps.Clone(base)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, over)
	return all
}

// links finds out who is a client and who a worker.
func (r *reader) links() {
	for i, l := range r.file.Topology.Links {
		var ends []string
		for _, e := range l.Endpoints {
			name, _, _ := strings.Cut(e, ":")
			if _, there := r.nodes[name]; !there {
				r.mistake("link %d: %q is the end of no node", i+1, e)
			}
			ends = append(ends, name)
		}
		if len(ends) != 2 {
			r.mistake("link %d: it has %d ends, not 2", i+1, len(ends))
			continue
		}
		a, b := r.roles[ends[0]], r.roles[ends[1]]
		if a == "" || a != "switch" && a != "host" {
			ends[0], ends[1], a, b = ends[1], ends[0], b, a
		}
		switch {
		case a == "switch" && b == "host", a == "host" && b == "switch":
			r.read.Topology.Trunks++
		case a == "switch" && b == "":
			r.roles[ends[1]] = "client"
		case a == "host" && b == "":
			r.roles[ends[1]] = "worker"
		default:
			r.mistake("link %d, of %s and %s: a link is a trunk between switch and host, or the only one of a client with the switch or of a worker with the host", i+1, ends[0], ends[1])
		}
	}
	if r.read.Topology.Trunks == 0 {
		r.mistake("there is no trunk: no link between switch and host")
	}
}

func (r *reader) node(name string, n node) {
	switch r.roles[name] {
	case "client":
		c := harness.Client{Name: name, MAC: r.mac(name, n), Worker: n.Labels[workerLabel], Addresses: r.addresses(name, n), Image: r.image(name, n)}
		c.VLAN = r.vlan(name, n.Labels[vlanLabel])
		if text, given := n.Labels[trunkLabel]; given {
			trunk, err := strconv.Atoi(text)
			if err != nil {
				r.mistake("node %s: its label %s: %w", name, trunkLabel, err)
			}
			c.Trunk = trunk
		}
		r.read.Topology.Clients = append(r.read.Topology.Clients, c)
	case "worker":
		r.read.Topology.Workers = append(r.read.Topology.Workers, harness.Worker{Name: name, MAC: r.mac(name, n), Addresses: r.addresses(name, n), Image: r.image(name, n)})
	case "":
		r.mistake("node %s: no link ends at it", name)
	}
}

func (r *reader) vlan(name, text string) harness.VLAN {
	vlan := harness.VLAN{Protocol: harness.Dot1Q}
	vid := strings.TrimPrefix(text, "802.1Q ")
	if rest, service := strings.CutPrefix(text, "802.1ad "); service {
		vlan.Protocol, vid = harness.Dot1AD, rest
	}
	number, err := strconv.ParseUint(vid, 10, 16)
	if err != nil {
		r.mistake("node %s: its label %s is %q; a client needs a VLAN, such as \"7\" or \"802.1ad 7\"", name, vlanLabel, text)
	}
	vlan.VID = uint16(number)
	return vlan
}

func (r *reader) mac(name string, n node) harness.MAC {
	r.number++
	text, given := n.Labels[macLabel]
	if !given {
		return harness.MAC{2, 0, 0, 0, 0, r.number}
	}
	mac, err := demux.ParseMAC(text)
	if err != nil {
		r.mistake("node %s: its label %s: %w", name, macLabel, err)
	}
	return mac
}

func (r *reader) addresses(name string, n node) (all []netip.Prefix) {
	for _, text := range strings.FieldsFunc(n.Labels[addressLabel], func(c rune) bool { return c == ',' || c == ' ' }) {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			r.mistake("node %s: its label %s: %w", name, addressLabel, err)
		}
		all = append(all, p)
	}
	return all
}

func (r *reader) image(name string, n node) *harness.Image {
	if n.Image == "" || n.Labels[builtinLabel] == "true" {
		return nil
	}
	if n.Entrypoint != "" {
		r.mistake("node %s: an entry point of its own (%s) is not possible: the image's own is run", name, n.Entrypoint)
	}
	image := &harness.Image{Name: n.Image, Command: r.words(name, n.Cmd)}
	for _, key := range slices.Sorted(maps.Keys(n.Env)) {
		image.Environment = append(image.Environment, key+"="+n.Env[key])
	}
	for _, capability := range n.CapAdd {
		if strings.TrimPrefix(capability, "CAP_") != "NET_ADMIN" {
			r.mistake("node %s: capability %s is not possible, NET_ADMIN is", name, capability)
		}
		image.NetAdmin = true
	}
	for _, bind := range n.Binds {
		parts := strings.Split(bind, ":")
		if len(parts) < 2 || len(parts) > 3 || len(parts) == 3 && parts[2] != "ro" && parts[2] != "rw" {
			r.mistake("node %s: the bind %q is none: SOURCE:TARGET, and :ro behind it", name, bind)
			continue
		}
		if !filepath.IsAbs(parts[0]) {
			parts[0] = filepath.Join(r.folder, parts[0])
		}
		image.Mounts = append(image.Mounts, harness.Mount{Source: parts[0], Target: parts[1], Writable: len(parts) == 2 || parts[2] == "rw"})
	}
	for _, line := range n.Exec {
		r.read.Exec[name] = append(r.read.Exec[name], r.words(name, line))
	}
	return image
}

func (r *reader) words(name, line string) []string {
	words, err := split(line)
	if err != nil {
		r.mistake("node %s: %w", name, err)
	}
	return words
}
