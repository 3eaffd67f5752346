package wire

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Interfaces reports every interface of the lab: both ends of every link, in
// the order a client's frame meets them, then what is inside the
// switch. Those it cannot read (their container may
// have ended) are missing from the answer and named in the error.
func (n *Network) Interfaces(ctx context.Context) ([]InterfaceState, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, errClosed
	}
	family, err := n.host.ethtoolFamily()
	if err != nil {
		return nil, err
	}
	var states []InterfaceState
	var errs []error
	known := map[int]bool{} // the switch's
	read := func(ns *namespace, index int) {
		s, err := ns.interfaceState(family, index)
		if err != nil {
			errs = append(errs, err)
			return
		}
		states = append(states, s)
	}
	for _, e := range n.ends() {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("reading the lab's interfaces: %w", err)
		}
		if e.node == SwitchNode {
			known[e.index] = true
		}
		read(n.node(e.node), e.index)
	}
	inner, err := retryDump(n.sw.handle.LinkList)
	if err != nil {
		return nil, fmt.Errorf("listing the switch's interfaces: %w", err)
	}
	for _, l := range inner {
		if i := l.Attrs().Index; !known[i] && slices.Contains([]string{"bridge", "vlan", "veth"}, l.Type()) {
			read(n.sw, i)
		}
	}
	return states, errors.Join(errs...)
}

func (ns *namespace) interfaceState(family, index int) (InterfaceState, error) {
	l, changes, err := ns.link(index)
	if err != nil {
		return InterfaceState{}, err
	}
	a := l.Attrs()
	s := InterfaceState{
		Name: a.Name, Node: ns.node, Index: a.Index, Kind: l.Type(), MTU: a.MTU,
		Up: a.RawFlags&unix.IFF_UP != 0, Carrier: a.RawFlags&unix.IFF_LOWER_UP != 0,
		CarrierChanges: changes,
	}
	copy(s.MAC[:], a.HardwareAddr)
	if st := a.Statistics; st != nil {
		s.RxPackets, s.TxPackets = st.RxPackets, st.TxPackets
	}
	f, err := ns.features(family, index)
	if err != nil {
		return s, err
	}
	s.Offloads = f.active
	addrs, err := retryDump(func() ([]netlink.Addr, error) { return ns.handle.AddrList(l, netlink.FAMILY_ALL) })
	if err != nil {
		return s, fmt.Errorf("listing the addresses of interface %s of %s: %w", a.Name, ns.node, err)
	}
	for _, addr := range addrs {
		ip, ok := netip.AddrFromSlice(addr.IP)
		if !ok {
			return s, fmt.Errorf("listing the addresses of interface %s of %s: %v is none", a.Name, ns.node, addr.IP)
		}
		bits, _ := addr.Mask.Size()
		s.Addresses = append(s.Addresses, netip.PrefixFrom(ip.Unmap(), bits))
	}
	return s, nil
}
