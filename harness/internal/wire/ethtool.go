package wire

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Offloads are read and set through ethtool's netlink family (Linux 5.7): it
// takes ifindexes and feature names, and no pointer crosses an ioctl.

// ethtoolFamily asks for the number the kernel gave ethtool's netlink family.
func ethtoolFamily() (int, error) {
	family, err := netlink.GenlFamilyGet(unix.ETHTOOL_GENL_NAME)
	if err != nil {
		return 0, fmt.Errorf("finding ethtool's netlink family (Linux 5.7 with ETHTOOL_NETLINK): %w", err)
	}
	return int(family.ID), nil
}

type features struct {
	active     map[string]bool // every feature that is active or could be
	changeable map[string]bool // those that can be switched
}

func (ns *namespace) features(family, index int) (features, error) {
	f := features{active: map[string]bool{}, changeable: map[string]bool{}}
	msgs, err := ns.execute(unix.NETLINK_GENERIC, func() *nl.NetlinkRequest {
		req := nl.NewNetlinkRequest(family, 0)
		req.AddData(&nl.Genlmsg{Command: unix.ETHTOOL_MSG_FEATURES_GET, Version: 1})
		req.AddData(ethtoolHeader(index, 0))
		return req
	})
	if err != nil {
		return f, fmt.Errorf("reading the offloads of interface %d of %s: %w", index, ns.node, err)
	}
	for _, m := range msgs {
		attrs := m[nl.SizeofGenlmsg:]
		walk(attrs, unix.ETHTOOL_A_FEATURES_HW, func(bitset []byte) {
			for _, name := range bitNames(bitset) {
				f.changeable[name] = true
				f.active[name] = false
			}
		})
		walk(attrs, unix.ETHTOOL_A_FEATURES_NOCHANGE, func(bitset []byte) {
			for _, name := range bitNames(bitset) {
				delete(f.changeable, name)
			}
		})
		walk(attrs, unix.ETHTOOL_A_FEATURES_ACTIVE, func(bitset []byte) {
			for _, name := range bitNames(bitset) {
				f.active[name] = true
			}
		})
	}
	if len(f.active) == 0 {
		return f, fmt.Errorf("reading the offloads of interface %d of %s: the answer names none", index, ns.node)
	}
	return f, nil
}

// bitNames lists the bits that are set in a verbose bitset without a mask.
func bitNames(bitset []byte) []string {
	var names []string
	walk(bitset, unix.ETHTOOL_A_BITSET_BITS, func(bits []byte) {
		walk(bits, unix.ETHTOOL_A_BITSET_BITS_BIT, func(bit []byte) {
			walk(bit, unix.ETHTOOL_A_BITSET_BIT_NAME, func(name []byte) {
				names = append(names, nl.BytesToString(name))
			})
		})
	})
	return names
}

// walk calls f with the value of each attribute of one type.
func walk(attrs []byte, attrType uint16, f func([]byte)) {
	list, err := nl.ParseRouteAttr(attrs)
	if err != nil {
		return // nothing further to be read here: the caller finds names missing
	}
	for _, a := range list {
		if a.Attr.Type&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER) == attrType {
			f(a.Value)
		}
	}
}

func ethtoolHeader(index int, flags uint32) *nl.RtAttr {
	h := nl.NewRtAttr(unix.ETHTOOL_A_FEATURES_HEADER|unix.NLA_F_NESTED, nil)
	h.AddRtAttr(unix.ETHTOOL_A_HEADER_DEV_INDEX, nl.Uint32Attr(uint32(index)))
	h.AddRtAttr(unix.ETHTOOL_A_HEADER_FLAGS, nl.Uint32Attr(flags))
	return h
}

// pinned reports whether pinOffloads decides about a feature, and whether on
// switches it on. Off takes every segmentation with it; on leaves alone those
// that no traffic of a lab uses (tunnels, SCTP).
func pinned(name string, on bool) bool {
	switch name {
	case "tx-scatter-gather", "rx-gro", "tx-generic-segmentation", "tx-udp-segmentation",
		"tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-tcp-ecn-segmentation":
		return true
	case "tx-checksum-ip-generic": // stands for every protocol; the kernel allows no other beside it
		return true
	}
	return !on && (strings.HasPrefix(name, "tx-checksum-") ||
		strings.HasPrefix(name, "tx-") && strings.HasSuffix(name, "-segmentation"))
}

// pinOffloads switches transmit checksums, scatter-gather, TSO, GSO and GRO of
// an interface on or off and looks that they are. VLAN acceleration and receive
// checksums stay as they are.
func (ns *namespace) pinOffloads(family, index int, on bool) error {
	before, err := ns.features(family, index)
	if err != nil {
		return err
	}
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(before.changeable)), func(name string) bool {
		return !pinned(name, on)
	})
	_, err = ns.execute(unix.NETLINK_GENERIC, func() *nl.NetlinkRequest {
		req := nl.NewNetlinkRequest(family, unix.NLM_F_ACK)
		req.AddData(&nl.Genlmsg{Command: unix.ETHTOOL_MSG_FEATURES_SET, Version: 1})
		req.AddData(ethtoolHeader(index, unix.ETHTOOL_FLAG_OMIT_REPLY))
		wanted := nl.NewRtAttr(unix.ETHTOOL_A_FEATURES_WANTED|unix.NLA_F_NESTED, nil)
		bits := wanted.AddRtAttr(unix.ETHTOOL_A_BITSET_BITS|unix.NLA_F_NESTED, nil)
		for _, name := range names {
			bit := bits.AddRtAttr(unix.ETHTOOL_A_BITSET_BITS_BIT|unix.NLA_F_NESTED, nil)
			bit.AddRtAttr(unix.ETHTOOL_A_BITSET_BIT_NAME, nl.ZeroTerminated(name))
			if on {
				bit.AddRtAttr(unix.ETHTOOL_A_BITSET_BIT_VALUE, nil)
			}
		}
		req.AddData(wanted)
		return req
	})
	if err != nil {
		return fmt.Errorf("setting the offloads of interface %d of %s: %w", index, ns.node, err)
	}
	after, err := ns.features(family, index)
	if err != nil {
		return err
	}
	var wrong []string
	for _, name := range names {
		if after.active[name] != on {
			wrong = append(wrong, name)
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("setting the offloads of interface %d of %s: the kernel leaves %s as they were", index, ns.node, strings.Join(wrong, ", "))
	}
	return nil
}
