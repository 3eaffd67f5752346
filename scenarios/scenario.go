// Package scenarios says what must hold on the wire: each file is one scenario,
// its topologies, what happens on them, and what every tap and counter must
// show in the end.
//
// A scenario knows labs and frames. It knows neither Docker nor netlink, nor
// who runs it: the Ginkgo suite in e2e turns each case into specs, and the demo
// runs one by itself.
package scenarios

import (
	"context"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/harness"
)

// Scenario is one subject, checked in one or more cases.
type Scenario struct {
	// Name is what --focus finds, in lower case but for proper names.
	Name string
	// Summary is one sentence for people.
	Summary string
	// Labels select scenarios with --label-filter. Optional.
	Labels []string
	// Cases are run each in a lab of its own.
	Cases []Case
}

// Case is one lab and what happens on it.
type Case struct {
	// Text completes "it …".
	Text string
	// Labels select the case, beside those of its scenario. Optional.
	Labels []string
	// Families are the address families the case runs over, one spec for
	// each. Optional: the case does not depend on addresses.
	Families []Family
	// Servers says that its nodes run programs of an image that not everybody has: busybox, dnsmasq, nginx, curl and iperf3.
	Servers bool
	// Topology of the lab.
	Topology func(Variant) harness.Topology
	// Run makes it happen and checks it. Failed expectations end it.
	Run func(context.Context, *Run)
}

// Family is an IP address family.
type Family string

// The families.
const (
	IPv4 Family = "IPv4"
	IPv6 Family = "IPv6"
)

// Variant is the point on the axes a spec runs at.
type Variant struct {
	Attach demux.AttachMode
	// Switch is of what kind. Optional: the lab chooses.
	Switch harness.SwitchKind
	Family Family
	Seed   harness.Seed
	// Emulated says that the processors are emulated: everything takes 10 to 20 times as long.
	Emulated bool
	// Full asks for the largest sizes there are.
	Full bool
	// Images of the harness, for nodes to run.
	Images harness.Images
	// ServersImage has the programs of cases that say Servers. Optional: they are left out.
	ServersImage string
	// Captures are the frames to replay.
	Captures []harness.Frame
}

// All are the scenarios of the suite, in the order they run.
func All() []Scenario {
	return []Scenario{
		VLANLearning(),
		AddressSpace(),
		OverlappingIPs(),
		MACMove(),
		CounterAccuracy(),
		CaptureReplay(),
		Truncated(),
		EtherTypes(),
		ARP(),
		DHCP(),
		Servers(),
		Pool(),
		Hostile(),
		Scale(),
		Faults(),
		Operator(),
		Policies(),
		RedirectPeer(),
		EarlyDrop(),
		WorkerEnd(),
	}
}
