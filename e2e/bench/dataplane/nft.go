package main

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// nft is a chain of nftables at the trunk's ingress with a rule a client that forwards its frames.
func nft() variant {
	return variant{name: "nft-fwd", tagged: true, attach: func(_ context.Context, p *path, clients int) (*running, error) {
		table, chain := text(unix.NFTA_RULE_TABLE, "bench"), text(unix.NFTA_RULE_CHAIN, "trunk") // numbered alike in chains
		batch := [][]byte{
			nftMessage(unix.NFNL_MSG_BATCH_BEGIN, 0, unix.NFNL_SUBSYS_NFTABLES),
			nftMessage(newNFT(unix.NFT_MSG_NEWTABLE), unix.NLM_F_CREATE, 0, text(unix.NFTA_TABLE_NAME, "bench")),
			nftMessage(newNFT(unix.NFT_MSG_NEWCHAIN), unix.NLM_F_CREATE, 0, table, text(unix.NFTA_CHAIN_NAME, "trunk"),
				nested(unix.NFTA_CHAIN_HOOK, number(unix.NFTA_HOOK_HOOKNUM, 0), number(unix.NFTA_HOOK_PRIORITY, 0),
					text(unix.NFTA_HOOK_DEV, trunkName)), text(unix.NFTA_CHAIN_TYPE, "filter")),
		}
		for i := range clients {
			address, worker := clientMAC(i), binary.NativeEndian.AppendUint32(nil, uint32(p.worker))
			batch = append(batch, nftMessage(newNFT(unix.NFT_MSG_NEWRULE), unix.NLM_F_CREATE|unix.NLM_F_APPEND, 0, table, chain,
				nested(unix.NFTA_RULE_EXPRESSIONS,
					expression("payload", number(unix.NFTA_PAYLOAD_DREG, unix.NFT_REG_1), number(unix.NFTA_PAYLOAD_BASE, unix.NFT_PAYLOAD_LL_HEADER),
						number(unix.NFTA_PAYLOAD_OFFSET, 6), number(unix.NFTA_PAYLOAD_LEN, 6)),
					expression("cmp", number(unix.NFTA_CMP_SREG, unix.NFT_REG_1), number(unix.NFTA_CMP_OP, unix.NFT_CMP_EQ),
						nested(unix.NFTA_CMP_DATA, nl.NewRtAttr(unix.NFTA_DATA_VALUE, address[:]))),
					expression("immediate", number(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_1),
						nested(unix.NFTA_IMMEDIATE_DATA, nl.NewRtAttr(unix.NFTA_DATA_VALUE, worker))),
					expression("fwd", number(forwardRegister, unix.NFT_REG_1)))))
		}
		batch = append(batch, nftMessage(unix.NFNL_MSG_BATCH_END, 0, unix.NFNL_SUBSYS_NFTABLES))
		if err := p.host.do(func() error { return sendBatch(batch) }); err != nil {
			return nil, fmt.Errorf("adding nftables rules: %w", err)
		}
		return &running{}, nil
	}}
}

const forwardRegister = 1 // NFTA_FWD_SREG_DEV

func newNFT(kind uint16) uint16 { return unix.NFNL_SUBSYS_NFTABLES<<8 | kind }

// nested is a netlink attribute of others.
func nested(kind int, parts ...*nl.RtAttr) *nl.RtAttr {
	a := nl.NewRtAttr(kind|unix.NLA_F_NESTED, nil)
	for _, part := range parts {
		a.AddChild(part)
	}
	return a
}

func text(kind int, value string) *nl.RtAttr { return nl.NewRtAttr(kind, nl.ZeroTerminated(value)) }

func number(kind int, value uint32) *nl.RtAttr {
	return nl.NewRtAttr(kind, binary.BigEndian.AppendUint32(nil, value))
}

func expression(name string, attributes ...*nl.RtAttr) *nl.RtAttr {
	return nested(unix.NFTA_LIST_ELEM, text(unix.NFTA_EXPR_NAME, name), nested(unix.NFTA_EXPR_DATA, attributes...))
}

// nftMessage is one of nfnetlink, of the netdev family.
func nftMessage(kind, flags, resource uint16, attributes ...*nl.RtAttr) []byte {
	m := make([]byte, unix.SizeofNlMsghdr)
	binary.NativeEndian.PutUint16(m[4:], kind)
	binary.NativeEndian.PutUint16(m[6:], flags|unix.NLM_F_REQUEST)
	m = append(m, unix.NFPROTO_NETDEV, unix.NFNETLINK_V0)
	m = binary.BigEndian.AppendUint16(m, resource)
	for _, a := range attributes {
		m = append(m, a.Serialize()...)
	}
	binary.NativeEndian.PutUint32(m, uint32(len(m)))
	return m
}

// sendBatch sends messages of which the last but one is acknowledged: the kernel does all of them or none.
func sendBatch(messages [][]byte) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // it has served
	var batch []byte
	for i, m := range messages {
		if i == len(messages)-2 {
			binary.NativeEndian.PutUint16(m[6:], binary.NativeEndian.Uint16(m[6:])|unix.NLM_F_ACK)
		}
		batch = append(batch, m...)
	}
	if err := unix.Sendto(fd, batch, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	if _, _, err := unix.Recvfrom(fd, answer, 0); err != nil {
		return err
	}
	if status := int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); status != 0 {
		return unix.Errno(-status)
	}
	return nil
}
