package wire

import (
	"net/netip"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

// interfaceState is an interface of the lab as the kernel reports it.
type interfaceState struct {
	Kind                 string
	MAC                  demux.MAC
	MTU                  int
	Up, Carrier          bool
	CarrierChanges       uint32
	RxPackets, TxPackets uint64
	Addresses            []netip.Prefix
	Offloads             map[string]bool
}

// byName are all interfaces of the lab, "host/trunk0", those inside the switch included.
func byName(t *testing.T, n *Network) map[string]interfaceState {
	t.Helper()
	g := NewWithT(t)
	ethtool, err := ethtoolFamily()
	g.Expect(err).NotTo(HaveOccurred())
	states := map[string]interfaceState{}
	for _, ns := range n.nodes {
		links, err := retryDump(ns.handle.LinkList)
		g.Expect(err).NotTo(HaveOccurred())
		for _, link := range links {
			a := link.Attrs()
			if a.Name == "lo" {
				continue
			}
			name := ns.node + "/" + a.Name
			features, err := ns.features(ethtool, a.Index)
			g.Expect(err).NotTo(HaveOccurred(), name)
			s := interfaceState{
				Kind: link.Type(), MTU: a.MTU, CarrierChanges: carrierChanges(g, ns, a.Index), Offloads: features.active,
				Up: a.RawFlags&unix.IFF_UP != 0, Carrier: a.RawFlags&unix.IFF_LOWER_UP != 0, RxPackets: a.Statistics.RxPackets, TxPackets: a.Statistics.TxPackets,
			}
			copy(s.MAC[:], a.HardwareAddr)
			addresses, err := ns.handle.AddrList(link, netlink.FAMILY_ALL)
			g.Expect(err).NotTo(HaveOccurred(), name)
			for _, address := range addresses {
				ip, _ := netip.AddrFromSlice(address.IP)
				bits, _ := address.Mask.Size()
				s.Addresses = append(s.Addresses, netip.PrefixFrom(ip.Unmap(), bits))
			}
			states[name] = s
		}
	}
	return states
}

// carrierChanges counts the changes of carrier since the interface was made, which package netlink does not tell.
func carrierChanges(g Gomega, ns *namespace, index int) uint32 {
	answers, err := ns.execute(unix.NETLINK_ROUTE, func() *nl.NetlinkRequest {
		request, info := nl.NewNetlinkRequest(unix.RTM_GETLINK, 0), nl.NewIfInfomsg(unix.AF_UNSPEC)
		info.Index = int32(index)
		request.AddData(info)
		return request
	})
	g.Expect(err).NotTo(HaveOccurred())
	attributes, err := nl.ParseRouteAttrAsMap(answers[0][unix.SizeofIfInfomsg:])
	g.Expect(err).NotTo(HaveOccurred())
	return nl.NativeEndian().Uint32(attributes[unix.IFLA_CARRIER_CHANGES].Value)
}
