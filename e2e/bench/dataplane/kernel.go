package main

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// What a user would take without BPF, as far as every kernel here has it. None
// of them learns, takes the tag off, knows the way back or counts by client.

// macvlan is a macvlan in source mode below the trunk: the tag stays on.
func macvlan() variant {
	return variant{name: "macvlan-source", tagged: true, attach: func(_ context.Context, p *path, clients int) (*running, error) {
		p.far = "macvlan"
		link := &netlink.Macvlan{
			LinkAttrs: netlink.LinkAttrs{Name: p.far, ParentIndex: p.trunk, Namespace: netlink.NsFd(p.virt.file.Fd())},
			Mode:      netlink.MACVLAN_MODE_SOURCE,
		}
		if err := p.host.net.LinkAdd(link); err != nil {
			return nil, fmt.Errorf("making a macvlan: %w", err)
		}
		inside, err := p.virt.net.LinkByName(p.far)
		if err != nil {
			return nil, fmt.Errorf("looking for the macvlan: %w", err)
		}
		for i := range clients {
			address := clientMAC(i)
			if err := p.virt.net.MacvlanMACAddrAdd(inside, address[:]); err != nil {
				return nil, fmt.Errorf("adding a source to the macvlan: %w", err)
			}
		}
		return &running{}, p.virt.up(p.far)
	}}
}

// u32 is a u32 filter for each client, in front of mirred: the tag stays on.
func u32() variant {
	return variant{name: "u32-mirred", tagged: true, attach: func(_ context.Context, p *path, clients int) (*running, error) {
		if err := p.clsact(); err != nil {
			return nil, err
		}
		for i := range clients {
			if err := p.host.net.FilterAdd(u32Filter(p, clientMAC(i))); err != nil {
				return nil, fmt.Errorf("adding u32 filter: %w", err)
			}
		}
		return &running{}, nil
	}}
}

// flower takes the tag off, as u32 could not match it: a filter a client, found by hash.
func flower() variant {
	return variant{name: "flower-vlan-mirred", tagged: true, attach: func(_ context.Context, p *path, clients int) (*running, error) {
		if err := p.clsact(); err != nil {
			return nil, err
		}
		for i := range clients {
			address := clientMAC(i)
			filter := &netlink.Flower{
				FilterAttrs: netlink.FilterAttrs{LinkIndex: p.trunk, Parent: netlink.HANDLE_MIN_INGRESS, Priority: 1, Protocol: unix.ETH_P_8021Q},
				SrcMac:      address[:],
				Actions:     []netlink.Action{&netlink.VlanAction{ActionAttrs: netlink.ActionAttrs{Action: netlink.TC_ACT_PIPE}, Action: netlink.TCA_VLAN_ACT_POP}, netlink.NewMirredAction(p.worker)},
			}
			if err := p.host.net.FilterAdd(filter); err != nil {
				return nil, fmt.Errorf("adding flower filter: %w", err)
			}
		}
		return &running{}, nil
	}}
}

func (p *path) clsact() error {
	qdisc := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: p.trunk, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}
	if err := p.host.net.QdiscAdd(qdisc); err != nil {
		return fmt.Errorf("adding clsact qdisc: %w", err)
	}
	return nil
}

func u32Filter(p *path, client mac) netlink.Filter {
	return &netlink.U32{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: p.trunk, Parent: netlink.HANDLE_MIN_INGRESS, Priority: 1, Protocol: unix.ETH_P_ALL,
		},
		Sel: &netlink.TcU32Sel{
			Flags: netlink.TC_U32_TERMINAL,
			Nkeys: 2,
			// The source address starts 8 octets before the network header.
			Keys: []netlink.TcU32Key{
				{Mask: 0xffffffff, Val: binary.BigEndian.Uint32(client[:4]), Off: -8},
				{Mask: 0xffff0000, Val: uint32(binary.BigEndian.Uint16(client[4:])) << 16, Off: -4},
			},
		},
		Actions: []netlink.Action{netlink.NewMirredAction(p.worker)},
	}
}
