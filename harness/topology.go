// Package harness is a library for tests of dataplanes that take VLAN-tagged frames to
// workers and back: it starts labs, each a VLAN trunk with clients behind a switch, a host
// that runs vlandemux, and workers, every box a Docker container, and it checks every
// frame in them. Use it to test your own device or program as a client or a worker of
// vlandemux (see [Image]), or another program in vlandemux's place (the variable DEMUX),
// from any Go program or test.
//
// A lab is described by a [Topology], plain data that is validated before
// anything starts, and run by [Start]. A [Window] is a time in which every frame is
// checked. The calling process needs a Docker API and nothing else: no root, no
// namespace of its own, no local daemon. The images are made when they are first needed,
// by the go command, from the version of this module that the calling module requires;
// a program that runs where there is no go command is given them in a folder (the variable
// VLANDEMUX_IMAGES).
package harness

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/harness/internal/ledger"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
	"github.com/vlandemux/vlandemux/harness/internal/topology"
)

// MAC is a 48-bit hardware address.
type MAC = demux.MAC

// VLAN is the tag of an access port: protocol (0x8100 or 0x88a8) and VID (1–4094).
type VLAN = probe.VLAN

// What a lab is made of.
type (
	// Client is a box behind an access port of the switch: Name, MAC, Place, and what is
	// optional, Addresses, Worker (whose it is when the lab starts), Offloads and Image.
	Client = topology.Client
	// Worker is a box behind the host: Name, MAC, and what is optional, InHost, Addresses,
	// Offloads and Image.
	Worker = topology.Worker
	// Place is a VLAN on a trunk, by the trunk's number from 0.
	Place = topology.Place
	// Tunnel is one of several kinds between a client and a worker.
	Tunnel = topology.Tunnel
	// Image is a program of any image that the engine has, in a client or a worker.
	Image = topology.Image
	// Mount is a folder or file of the engine's machine in an image's file system.
	Mount = topology.Mount
)

// Kinds of the host end of a worker's link, besides a veth.
const (
	WorkerTAP        = topology.WorkerTAP
	WorkerMACVLAN    = topology.WorkerMACVLAN
	WorkerBridgePort = topology.WorkerBridgePort
	WorkerIFB        = topology.WorkerIFB
)

// TunnelKinds are the kinds of tunnels: VXLAN, Geneve, Ethernet and IP in GRE, IP in IP.
func TunnelKinds() []string { return topology.TunnelKinds() }

// The two tag protocols of an access port.
const (
	Dot1Q  uint16 = probe.Dot1Q  // 0x8100: IEEE 802.1Q, customer tag
	Dot1AD uint16 = probe.Dot1AD // 0x88a8: IEEE 802.1ad, service tag
)

// Topology describes a lab. The zero value of an optional field means its default.
type Topology struct {
	// Clients are the boxes behind the switch, at least one.
	Clients []Client
	// Workers are the boxes behind the host, at least one.
	Workers []Worker
	// Tunnels between clients and workers. Those the kernel has no device for are left out when the lab starts.
	// Optional.
	Tunnels []Tunnel
	// Demux is how vlandemux is started. Optional.
	Demux Demux
	// Switch is how the switch is built. Optional: [SwitchAuto].
	Switch SwitchKind
	// Trunks is the number of trunks between switch and host, 1 to 8. Optional: 1.
	Trunks int
	// SuperPacket is the most octets of a TCP super-packet of nodes with Offloads: above 65536 is BIG TCP, over IPv4
	// since Linux 6.3. At most 200000. Optional: the kernel's 65536.
	SuperPacket int
	// MTU is the IP MTU of clients and workers in octets, 576 to 9000. The
	// trunk has room for two tags more. Optional: 1500.
	MTU int
}

// Demux is how the lab starts vlandemux. Each field is the flag of that name.
type Demux struct {
	// Attach forces an attach mode: "tcx" or "clsact". Optional: auto.
	Attach demux.AttachMode
	// Untagged says what becomes of frames without a tag. Optional: drop.
	Untagged demux.UntaggedPolicy
	// Unknown says what becomes of tagged frames of MACs without a worker: "drop", "pass" or a
	// worker's name. Optional: drop.
	Unknown string
	// Age is how long the location of a client that sends nothing is kept, in whole seconds. A lab that has it is
	// not restarted, and has one window, which ends when every client is forgotten. Optional: for ever.
	Age time.Duration
	// GroupLimit is how many group frames a second each worker may send. Optional: any number.
	GroupLimit int
	// Redirect says how frames get to workers: on their interfaces, or with [demux.RedirectPeer] past those that are veths. Optional: on them.
	Redirect demux.RedirectMode
	// EarlyDrop says where frames of unknown MACs are dropped: at tc, or with [demux.EarlyDropXDP] in the trunk's driver. Then each client has a
	// worker, and the window's Inject sends what strangers do. Optional: at tc.
	EarlyDrop demux.EarlyDropMode
	// Capacity is the most clients that can be assigned. Optional: vlandemux's own default.
	Capacity int
	// Contract is that of another dataplane, in vlandemux's place. Optional.
	Contract *Contract
}

// Contract is what a lab knows of a dataplane that is not like vlandemux. The variable
// DEMUX names the program; it needs no API, and the lab's frames alone are judged.
type Contract struct {
	// Arguments of the program, which is started in the host container as "vlandemux run
	// ARGUMENTS…". Once it forwards, it writes a line to stderr that begins with "ready".
	// In the end it is killed, and "vlandemux detach" takes out of the kernel what it has
	// left there; what is attached to the lab's interfaces goes with them.
	Arguments []string
	// Reference says what has to become of each frame.
	Reference Reference
}

// What a [Reference] is asked, and what it answers.
type (
	// Reference says what a dataplane has to do with frames.
	Reference = ledger.Reference
	// Passage is a frame that came to the host: Port, Source, Destination, Tags, EtherType and Octets.
	Passage = ledger.Passage
	// Outcome is one thing that may become of it: the copies that are Leaving, and Why there are none.
	Outcome = ledger.Outcome
	// Leaving is a copy of a frame that leaves the host: Port and Tags.
	Leaving = ledger.Leaving
)

// withDefaults fills what was left out.
func (t Topology) withDefaults() Topology {
	t.Trunks, t.MTU = cmp.Or(t.Trunks, 1), cmp.Or(t.MTU, 1500)
	t.Demux.Attach, t.Demux.Untagged = cmp.Or(t.Demux.Attach, demux.AttachAuto), cmp.Or(t.Demux.Untagged, demux.UntaggedDrop)
	return t
}

// hasIPv6 reports whether any node has an IPv6 address: only then is IPv6
// switched on, since it sends frames of its own.
func (t Topology) hasIPv6() bool {
	var all []netip.Prefix
	for _, c := range t.Clients {
		all = append(all, c.Addresses...)
	}
	for _, w := range t.Workers {
		all = append(all, w.Addresses...)
	}
	return slices.ContainsFunc(all, func(p netip.Prefix) bool { return p.Addr().Is6() })
}

// allowed are the places where a client may be, as the demux has them.
func allowed(c Client) (places []demux.Place) {
	for _, p := range c.Allowed {
		protocol := demux.Protocol8021Q
		if p.VLAN.Protocol == Dot1AD {
			protocol = demux.Protocol8021AD
		}
		places = append(places, demux.Place{Trunk: topology.TrunkName(p.Trunk), Protocol: protocol, VID: p.VLAN.VID})
	}
	return places
}

// Arguments are those of `vlandemux run` for this topology.
func (t Topology) Arguments() []string {
	if t.Demux.Contract != nil {
		return t.Demux.Contract.Arguments
	}
	t = t.withDefaults()
	var args []string
	for i := range t.Trunks {
		args = append(args, "--trunk", topology.TrunkName(i))
	}
	for _, c := range t.Clients {
		if c.Worker != "" {
			args = append(args, "--assign", demux.Assignment{MAC: c.MAC, Worker: c.Worker, Places: allowed(c)}.String())
		}
	}
	args = append(args, "--attach", string(t.Demux.Attach), "--untagged", string(t.Demux.Untagged))
	if slices.ContainsFunc(t.Workers, func(w Worker) bool { return w.Kind == WorkerBridgePort }) {
		args = append(args, "--force") // vlandemux takes a bridge's port for one that the host needs
	}
	if t.Demux.Unknown != "" {
		args = append(args, "--unknown", t.Demux.Unknown)
	}
	if t.Demux.Age != 0 {
		args = append(args, "--age", t.Demux.Age.String())
	}
	if t.Demux.GroupLimit != 0 {
		args = append(args, "--group-limit", fmt.Sprint(t.Demux.GroupLimit))
	}
	if t.Demux.Redirect != "" {
		args = append(args, "--redirect", string(t.Demux.Redirect))
	}
	if t.Demux.EarlyDrop != "" {
		args = append(args, "--early-drop", string(t.Demux.EarlyDrop))
	}
	if t.Demux.Capacity != 0 {
		args = append(args, "--capacity", fmt.Sprint(t.Demux.Capacity))
	}
	return args
}
