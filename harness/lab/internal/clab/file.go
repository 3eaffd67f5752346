// Package clab reads and writes labs in containerlab's topology format.
//
// Nodes and links are containerlab's own. The switch is the node of a kind of bridge, or whose label vlandemux.role says
// so; the host, which runs vlandemux, is the one whose label says "host". Links between the two are trunks, in their order. Whoever is linked to
// the switch is a client, whoever is linked to the host a worker. Labels say the rest.
package clab

// The labels of a node.
const (
	roleLabel    = "vlandemux.role"    // of the host: "host"; of the switch: "switch"
	vlanLabel    = "vlandemux.vlan"    // of a client: "7", or "802.1ad 7"
	trunkLabel   = "vlandemux.trunk"   // of a client: the number of its trunk, from 0. Optional: 0
	workerLabel  = "vlandemux.worker"  // of a client: whose it is. Optional: nobody's
	macLabel     = "vlandemux.mac"     // of a client or worker. Optional: 02:00:00:00:00:01 and so on
	addressLabel = "vlandemux.address" // of a client or worker: addresses with prefix lengths and commas between them. Optional
	builtinLabel = "vlandemux.builtin" // "true": a lab of the harness runs its own program and neither image, cmd nor exec
)

// file is containerlab's topology file, as far as labs of the harness have it. Any other field is a mistake.
type file struct {
	Name     string  `yaml:"name"`
	Prefix   *string `yaml:"prefix,omitempty"`
	Topology struct {
		Defaults node            `yaml:"defaults,omitempty"`
		Kinds    map[string]node `yaml:"kinds,omitempty"`
		Nodes    map[string]node `yaml:"nodes"`
		Links    []link          `yaml:"links"`
	} `yaml:"topology"`
}

type node struct {
	Kind        string            `yaml:"kind,omitempty"`
	Image       string            `yaml:"image,omitempty"`
	PullPolicy  string            `yaml:"image-pull-policy,omitempty"`
	Entrypoint  string            `yaml:"entrypoint,omitempty"`
	Cmd         string            `yaml:"cmd,omitempty"`
	NetworkMode string            `yaml:"network-mode,omitempty"`
	Env         map[string]string `yaml:"env,omitempty"`
	Binds       []string          `yaml:"binds,omitempty"`
	CapAdd      []string          `yaml:"cap-add,omitempty"`
	Exec        []string          `yaml:"exec,omitempty"`
	Labels      map[string]string `yaml:"labels,omitempty"`
}

type link struct {
	Endpoints []string `yaml:"endpoints,flow"`
}
