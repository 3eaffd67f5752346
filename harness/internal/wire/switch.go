package wire

import (
	"context"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// kind is one way to build the switch. All kinds behave alike.
type kind struct {
	name string
	// build makes a switch without ports.
	build func(inside) (switcher, error)
	// advice says what to do on a kernel that lacks something.
	advice string
}

// kinds are all there are, the preferred one first. A new kind is a file with
// its type, and a name here.
func kinds() []kind { return []kind{kind8021Q(), kindTC(), kindBridge()} }

// SwitchKinds are the names of all kinds of switch, the preferred one first.
func SwitchKinds() []string {
	var names []string
	for _, k := range kinds() {
		names = append(names, k.name)
	}
	return names
}

func kindCalled(name string) (kind, error) {
	i := slices.IndexFunc(kinds(), func(k kind) bool { return k.name == name })
	if i < 0 {
		return kind{}, fmt.Errorf("there is no switch %q; the kinds are %q", name, SwitchKinds())
	}
	return kinds()[i], nil
}

// explain adds the advice to an error that says that the kernel lacks something.
func (k kind) explain(err error) error {
	if err != nil && lacking(err) {
		return fmt.Errorf("%s (%w)", k.advice, err)
	}
	return err
}

// inside is what a switch is built of.
type inside struct {
	ns    *namespace // the switch's
	group uint32     // of every link made
	macs  *macs
	mtu   int // of the access ports
}

// switcher is the inside of a switch. Its methods are called one at a time.
type switcher interface {
	// addTrunk makes the interface with that index in the switch's namespace
	// the trunk of the given number.
	addTrunk(ctx context.Context, number, index int) error
	addPorts(ctx context.Context, ports ...access) error
	// move plugs an access port in elsewhere.
	move(ctx context.Context, index int, to Place) (MoveWindow, error)
	// close takes the switching away; the interfaces go afterwards.
	close() error
}

// access is an interface that is to be an access port.
type access struct {
	index int
	Place
}

// key names a place in at most 11 characters.
func key(p Place) string {
	kind := "q"
	if p.VLAN.Protocol == probe.Dot1AD {
		kind = "ad"
	}
	return fmt.Sprintf("%d.%s%d", p.Trunk, kind, p.VLAN.VID)
}

const (
	// Names of the switch's inner interfaces begin with these, which no client's
	// or trunk's does.
	bridgePrefix = "br."
	vlanPrefix   = "vl."

	// ageing of a bridge's learned addresses, in 1/100 s: thirty days, so
	// never within a lab. Zero would switch learning off.
	bridgeAgeing = 30 * 24 * 3600 * 100
	// groupForward lets a port forward every link-local group address
	// (01:80:c2:00:00:0X) but MAC pause (X = 1), which no bridge may.
	groupForward = 0xfffd
)

// makeBridge makes a bridge that says nothing, forgets nothing and hands on
// everything; more says what else it is to be.
func (ns *namespace) makeBridge(name string, group uint32, mac demux.MAC, more netlink.Bridge) (int, error) {
	more.LinkAttrs = netlink.NewLinkAttrs()
	more.Name = name
	more.Group = group
	more.HardwareAddr = mac[:]
	// A new bridge has the spanning tree protocol off and no querier.
	snooping, ageing := false, uint32(bridgeAgeing)
	more.MulticastSnooping, more.AgeingTime = &snooping, &ageing
	err := ns.handle.LinkAdd(&more)
	if err != nil {
		return 0, fmt.Errorf("making the bridge %s: %w", name, err)
	}
	return ns.index(name)
}

// enslave puts an interface into a bridge, out of whichever it was in.
func (ns *namespace) enslave(index, bridge int) error {
	if err := ns.handle.LinkSetMasterByIndex(byIndex(index), bridge); err != nil {
		return fmt.Errorf("putting interface %d of %s into bridge %d: %w", index, ns.node, bridge, err)
	}
	if err := ns.handle.LinkSetBRSlaveGroupFwdMask(byIndex(index), groupForward); err != nil {
		return fmt.Errorf("setting up interface %d of %s as a bridge's port: %w", index, ns.node, err)
	}
	return nil
}

func (ns *namespace) delete(index int) error {
	if err := ns.handle.LinkDel(byIndex(index)); err != nil {
		return fmt.Errorf("deleting interface %d of %s: %w", index, ns.node, err)
	}
	return nil
}

// byIndex names an interface to package netlink.
func byIndex(index int) netlink.Link {
	attrs := netlink.NewLinkAttrs()
	attrs.Index = index
	return &netlink.GenericLink{LinkAttrs: attrs}
}
