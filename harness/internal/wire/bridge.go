package wire

import (
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vlandemux/vlandemux/bpf/demux"
)

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
