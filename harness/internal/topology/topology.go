// Package topology has the parts of a lab's description that all of the harness shares.
package topology

import (
	"fmt"
	"net/netip"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// NodeInterface is the one interface of a client or worker.
const NodeInterface = "eth0"

// TrunkName is the name of a trunk's interfaces at the switch and at the host.
func TrunkName(trunk int) string { return fmt.Sprintf("trunk%d", trunk) }

// Place is a VLAN on a trunk: where an access port can be.
type Place struct {
	// Trunk is the number of the trunk the VLAN is carried on, from 0. Optional.
	Trunk int `json:"trunk"`
	// VLAN is what the access port pushes and pops.
	VLAN probe.VLAN `json:"vlan"`
}

// String gives "802.1Q 7 on trunk0".
func (p Place) String() string { return p.VLAN.String() + " on " + TrunkName(p.Trunk) }

// Client is a box behind an access port of the switch.
type Client struct {
	// Name is unique in the lab: a lower-case letter, then letters, digits or
	// hyphens, 15 characters at most. The switch's end of the link has it.
	Name string `json:"name"`
	// MAC is individual, not zero, and unique in the lab.
	MAC demux.MAC `json:"mac"`
	// Place of the access port when the lab starts.
	Place
	// Addresses of eth0. Clients may share them. Optional.
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	// Worker is the name of the worker the client is assigned to when the lab
	// starts. Optional: the client is unknown to the demux.
	Worker string `json:"worker,omitempty"`
	// Allowed are the places where the demux lets the client be, with whatever worker. With one, the
	// demux knows from the start that it is there. Optional: anywhere.
	Allowed []Place `json:"allowed,omitempty"`
	// Offloads leaves segmentation and checksum offloads of the client's link on, so that
	// it sends and takes GSO super-packets whole. Optional: every offload is off, and
	// each packet is one frame.
	Offloads bool `json:"offloads,omitempty"`
	// Image runs in the node. Optional: only the harness's own program does.
	Image *Image `json:"image,omitempty"`
}

// Kinds of the host end of a worker's link.
const (
	WorkerVeth       = ""
	WorkerTAP        = "tap"         // the other end is one too
	WorkerMACVLAN    = "macvlan"     // a passthru one, on a veth: group frames are for the host as well
	WorkerBridgePort = "bridge port" // a veth that is a port of a bridge of the host
	WorkerIFB        = "ifb"         // one that tc redirects to a veth what it is to send, and to it what that receives
)

// Worker is a box behind the host, reached through an interface named after it.
type Worker struct {
	// Name is unique in the lab, and the name of the host end of its link.
	Name string `json:"name"`
	// Kind of the host end. Optional: a veth.
	Kind string `json:"kind,omitempty"`
	// MAC is individual, not zero, and unique in the lab.
	MAC demux.MAC `json:"mac"`
	// Addresses of eth0. Workers may share them. Optional.
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	// Offloads leaves segmentation and checksum offloads of the worker's link on, so that
	// it sends and takes GSO super-packets whole. Optional: every offload is off, and
	// each packet is one frame.
	Offloads bool `json:"offloads,omitempty"`
	// MTU of both ends of the worker's link. With less than the lab's, longer frames end at the demux; with more, so do frames
	// of the worker that are too long for the trunk. Optional: the lab's.
	MTU int `json:"mtu,omitempty"`
	// InHost puts the worker's eth0 into the host's own network namespace: there a packet
	// keeps the mark it left the demux with. One worker of a lab can be, and then no node has
	// an IPv6 address and this one no address or image. Optional.
	InHost bool `json:"in_host,omitempty"`
	// Image runs in the node. Optional: only the harness's own program does.
	Image *Image `json:"image,omitempty"`
}

// Kinds of tunnels, by the names that the kernel has for their devices.
const (
	TunnelVXLAN  = "vxlan"
	TunnelGeneve = "geneve"
	TunnelGRETAP = "gretap" // Ethernet in GRE
	TunnelGRE    = "gre"    // IP in GRE
	TunnelIPIP   = "ipip"
)

// TunnelKinds are all of them.
func TunnelKinds() []string {
	return []string{TunnelVXLAN, TunnelGeneve, TunnelGRETAP, TunnelGRE, TunnelIPIP}
}

// Tunnel is one between a client and a worker, over the first address that each has, an IPv4 address.
type Tunnel struct {
	// Kind is one of TunnelKinds. Where the kernel has no such device, the lab is without the tunnel.
	Kind   string `json:"kind"`
	Client string `json:"client"`
	Worker string `json:"worker"`
	// ClientAddress and WorkerAddress are those of its ends.
	ClientAddress netip.Prefix `json:"client_address"`
	WorkerAddress netip.Prefix `json:"worker_address"`
}

// Image is a program of any image that the engine has, in a node's network: it finds the
// node's eth0 wired, and may send what it likes. It runs without any privilege but CAP_NET_RAW,
// from the first window of the lab on, and ends with the lab. A status other than 0
// before that is an error of the lab.
type Image struct {
	// Name or ID of the image. It is never pulled.
	Name string `json:"name"`
	// Command follows the image's entry point. Optional: the image's own.
	Command []string `json:"command,omitempty"`
	// Environment holds variables as NAME=VALUE, beside the image's own. Optional.
	Environment []string `json:"environment,omitempty"`
	// NetAdmin lets the program configure the node's own network, as DHCP servers and
	// routers want to (CAP_NET_ADMIN). Optional.
	NetAdmin bool `json:"net_admin,omitempty"`
	// Mounts are what the program finds in its file system besides. Optional.
	Mounts []Mount `json:"mounts,omitempty"`
}

// Mount is a folder or file of the engine's machine in an image's file system.
type Mount struct {
	Source   string `json:"source"` // on the machine of the Docker engine
	Target   string `json:"target"`
	Writable bool   `json:"writable,omitempty"`
}
