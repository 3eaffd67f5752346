package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// Where a rule looks: at what an interface receives, or at what it sends.
const (
	atIngress uint32 = netlink.HANDLE_MIN_INGRESS
	atEgress  uint32 = netlink.HANDLE_MIN_EGRESS
)

// rule is a flower filter of an interface and what is done to the frames that
// match it. The rule of the lowest priority number wins; each priority belongs
// to one protocol.
type rule struct {
	index    int
	where    uint32 // atIngress or atEgress
	priority uint16
	protocol uint16 // of the outermost tag, or unix.ETH_P_ALL
	vid      uint16 // 0 for every frame of the protocol
	actions  []action
}

// action is one step of a rule; the last one says where the frame goes.
type action struct {
	kind    string
	options func(*nl.RtAttr)
}

// The values of TCA_VLAN_PARMS that package netlink has no name or no use for.
const vlanModify netlink.VlanAct = 3

// pushPriorityTag puts a tag with VID 0 in front of the tags that are there.
func pushPriorityTag() action {
	return vlanAction(netlink.TCA_VLAN_ACT_PUSH, VLAN{Protocol: probe.Dot1Q, VID: 0}, netlink.TC_ACT_PIPE)
}

// retag replaces protocol and VID of the outermost tag, leaves PCP and DEI, and
// lets the frame go on.
func retag(to VLAN) action { return vlanAction(vlanModify, to, netlink.TC_ACT_OK) }

func vlanAction(what netlink.VlanAct, v VLAN, then netlink.TcAct) action {
	return action{"vlan", func(o *nl.RtAttr) {
		parms := nl.TcVlan{TcGen: nl.TcGen{Action: int32(then)}, Action: int32(what)}
		o.AddRtAttr(nl.TCA_VLAN_PARMS, parms.Serialize())
		o.AddRtAttr(nl.TCA_VLAN_PUSH_VLAN_ID, nl.Uint16Attr(v.VID))
		o.AddRtAttr(nl.TCA_VLAN_PUSH_VLAN_PROTOCOL, binary.BigEndian.AppendUint16(nil, v.Protocol))
	}}
}

func sendFrom(index int) action {
	return action{"mirred", func(o *nl.RtAttr) {
		parms := nl.TcMirred{TcGen: nl.TcGen{Action: int32(netlink.TC_ACT_STOLEN)}, Eaction: int32(netlink.TCA_EGRESS_REDIR), Ifindex: uint32(index)}
		o.AddRtAttr(nl.TCA_MIRRED_PARMS, parms.Serialize())
	}}
}

func drop() action {
	return action{"gact", func(o *nl.RtAttr) {
		parms := nl.TcGen{Action: int32(netlink.TC_ACT_SHOT)}
		o.AddRtAttr(nl.TCA_GACT_PARMS, parms.Serialize())
	}}
}

// addRule adds a rule to an interface, with the qdisc that holds rules if it is
// the first.
func (ns *namespace) addRule(r rule) error {
	err := ns.handle.QdiscAdd(&netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: r.index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
		QdiscType:  "clsact",
	})
	if err != nil && !errors.Is(err, syscall.EEXIST) {
		return fmt.Errorf("making a clsact qdisc on interface %d of %s: %w", r.index, ns.node, err)
	}
	_, err = ns.execute(unix.NETLINK_ROUTE, func() *nl.NetlinkRequest {
		req := nl.NewNetlinkRequest(unix.RTM_NEWTFILTER, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
		req.AddData(&nl.TcMsg{
			Family: nl.FAMILY_ALL, Ifindex: int32(r.index), Parent: r.where,
			Info: netlink.MakeHandle(r.priority, nl.Swap16(r.protocol)),
		})
		req.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("flower")))
		req.AddData(r.options())
		return req
	})
	if err != nil {
		return fmt.Errorf("adding a flower rule to interface %d of %s: %w", r.index, ns.node, err)
	}
	return nil
}

func (r rule) options() *nl.RtAttr {
	options := nl.NewRtAttr(nl.TCA_OPTIONS, nil)
	if r.vid != 0 {
		options.AddRtAttr(nl.TCA_FLOWER_KEY_ETH_TYPE, binary.BigEndian.AppendUint16(nil, r.protocol))
		options.AddRtAttr(nl.TCA_FLOWER_KEY_VLAN_ID, nl.Uint16Attr(r.vid))
	}
	list := options.AddRtAttr(nl.TCA_FLOWER_ACT, nil)
	for i, a := range r.actions {
		entry := list.AddRtAttr(i+1, nil)
		entry.AddRtAttr(nl.TCA_ACT_KIND, nl.ZeroTerminated(a.kind))
		a.options(entry.AddRtAttr(nl.TCA_ACT_OPTIONS, nil))
	}
	return options
}

// ChecksumErrors counts, for the host and each client and worker, the packets that its
// stack has dropped for a wrong checksum since its namespace is there: by the node's
// name and the kernel's for the counter, such as "w0 Udp InCsumErrors".
func (n *Network) ChecksumErrors() (map[string]uint64, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, errClosed
	}
	files, err := readCounters(n.nodes, "snmp", "snmp6")
	counts := map[string]uint64{}
	for node, counters := range files.parse() {
		for name, count := range counters {
			if strings.HasSuffix(name, "InCsumErrors") {
				counts[node+" "+name] = count
			}
		}
	}
	return counts, err
}
