/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What each segment of a super-packet repeats: the headers up to TCP's, UDP's or
 * SCTP's, which are the inner ones of a tunnel. The functions are global, so that
 * the verifier goes through each once and not for each call. Their loops are unrolled:
 * without CAP_PERFMON it follows what a processor may do by speculation, for which a loop
 * has no end.
 */
#ifndef VLANDEMUX_SEGMENTS_H
#define VLANDEMUX_SEGMENTS_H

#include "vlan.h"

#define IPPROTO_HOPOPTS 0
#define IPPROTO_IPIP 4
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_IPV6 41
#define IPPROTO_ROUTING 43
#define IPPROTO_FRAGMENT 44
#define IPPROTO_GRE 47
#define IPPROTO_AH 51
#define IPPROTO_DSTOPTS 60
#define IPPROTO_SCTP 132
#define IPPROTO_MH 135

#define MAX_TAGS 8
#define MAX_EXTENSIONS 8
#define MAX_TUNNELS 3

/* gso_size of SCTP: the segments have lengths of their own, one to a fragment. */
#define GSO_BY_FRAGS 0xffff

/* What is longer has 0 for its length. */
#define MAX_IP_LENGTH 0xffff

/* A super-packet of more than 64 KiB (BIG TCP) has a hop-by-hop header with its
 * length, which the kernel takes out before it makes segments.
 */
#define IPV6_JUMBO_LEN 8
#define IPV6_JUMBO_OPTION 0xc2

/* A network header to come: its EtherType and where it is. 0 for none. */
#define NETWORK(ethertype, offset) ((__u32)(ethertype) << 16 | (__u16)(offset))

/* Goes from an Ethernet header over the tags in the data. */
__noinline __u32 behind_ethernet(struct __sk_buff *skb, __u32 offset)
{
	__be16 ethertype;

	offset += ETH_HLEN;
#pragma unroll
	for (int i = 0; i <= MAX_TAGS; i++) {
		if (bpf_skb_load_bytes(skb, offset - 2, &ethertype, sizeof(ethertype)))
			return 0;
		if (!is_vlan_protocol(ethertype))
			return NETWORK(bpf_ntohs(ethertype), offset);
		offset += VLAN_TAG_LEN;
	}
	return 0;
}

/* What is behind an IP header: protocol, and where it begins. */
#define TRANSPORT(protocol, offset) ((__u32)(protocol) << 16 | (__u16)(offset))
#define TRANSPORT_JUMBO (1U << 24) /* the header has a jumbo option */
#define TRANSPORT_FILLS (1U << 25) /* the packet goes on to the end of the skb */

__noinline __u32 behind_ipv4(struct __sk_buff *skb, __u32 offset)
{
	__u8 header[10];
	__u32 length, total, fills = 0;

	if (bpf_skb_load_bytes(skb, offset, header, sizeof(header)))
		return 0;
	length = (header[0] & 0x0f) * 4;
	if (header[0] >> 4 != 4 || length < 20)
		return 0;
	total = (__u32)header[2] << 8 | header[3];
	if (offset + total == skb->len || (!total && skb->len > MAX_IP_LENGTH))
		fills = TRANSPORT_FILLS;
	return TRANSPORT(header[9], offset + length) | fills;
}

__noinline __u32 behind_ipv6(struct __sk_buff *skb, __u32 offset)
{
	__u32 at = offset + 40, payload, flags = 0;
	__u8 header[7], extension[4], next;

	if (bpf_skb_load_bytes(skb, offset, header, sizeof(header)) || header[0] >> 4 != 6)
		return 0;
	payload = (__u32)header[4] << 8 | header[5];
	if (at + payload == skb->len || (!payload && skb->len > MAX_IP_LENGTH))
		flags |= TRANSPORT_FILLS;
	next = header[6];
#pragma unroll
	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		/* next header, length in a unit of its own */
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_FRAGMENT &&
		    next != IPPROTO_AH && next != IPPROTO_DSTOPTS && next != IPPROTO_MH)
			break;
		if (bpf_skb_load_bytes(skb, at, extension, sizeof(extension)))
			return 0;
		if (next == IPPROTO_HOPOPTS && !payload && !extension[1] && extension[2] == IPV6_JUMBO_OPTION)
			flags |= TRANSPORT_JUMBO;
		if (next == IPPROTO_FRAGMENT)
			at += 8;
		else if (next == IPPROTO_AH)
			at += (extension[1] + 2) * 4;
		else
			at += (extension[1] + 1) * 8;
		next = extension[0];
	}
	return TRANSPORT(next, at) | flags;
}

/* What VXLAN, Geneve or IP behind a UDP header carries, whatever the port. */
__noinline __u32 behind_udp(struct __sk_buff *skb, __u32 offset)
{
	__u8 header[4];
	__u16 protocol;

	if (bpf_skb_load_bytes(skb, offset, header, sizeof(header)))
		return 0;
	protocol = (__u16)header[2] << 8 | header[3];
	if (header[0] < 0x40) { /* version 0 of Geneve, and its options' length */
		__u32 inner = offset + 8 + header[0] * 4;

		if (protocol == ETH_P_TEB)
			return behind_ethernet(skb, inner);
		if (protocol == ETH_P_IP || protocol == ETH_P_IPV6)
			return NETWORK(protocol, inner);
	}
	if (header[0] == 0x08 || header[0] == 0x88) /* VXLAN, with a group policy */
		return behind_ethernet(skb, offset + 8);
	if (header[0] == 0x0c) { /* VXLAN-GPE: the protocol is in its last octet */
		if (header[3] == 3)
			return behind_ethernet(skb, offset + 8);
		return header[3] == 1 ? NETWORK(ETH_P_IP, offset + 8) : NETWORK(ETH_P_IPV6, offset + 8);
	}
	if (header[0] >> 4 == 4)
		return NETWORK(ETH_P_IP, offset);
	if (header[0] >> 4 == 6)
		return NETWORK(ETH_P_IPV6, offset);
	return 0;
}

__noinline __u32 behind_gre(struct __sk_buff *skb, __u32 offset)
{
	__u8 header[4];
	__u16 protocol;
	__u32 length = 4;

	if (bpf_skb_load_bytes(skb, offset, header, sizeof(header)))
		return 0;
	length += (header[0] & 0x80 ? 4 : 0) + (header[0] & 0x20 ? 4 : 0) + (header[0] & 0x10 ? 4 : 0);
	protocol = (__u16)header[2] << 8 | header[3];
	return protocol == ETH_P_TEB ? behind_ethernet(skb, offset + length) : NETWORK(protocol, offset + length);
}

__noinline __u32 behind_network(struct __sk_buff *skb, __u32 network)
{
	if (network >> 16 == ETH_P_IP)
		return behind_ipv4(skb, network & 0xffff);
	return network >> 16 == ETH_P_IPV6 ? behind_ipv6(skb, network & 0xffff) : 0;
}

/* The network header of what the transport tunnels, 0 for none. */
__noinline __u32 behind_transport(struct __sk_buff *skb, __u32 transport)
{
	__u32 offset = transport & 0xffff;

	switch (transport >> 16 & 0xff) {
	case IPPROTO_UDP:
		return behind_udp(skb, offset + 8);
	case IPPROTO_GRE:
		return behind_gre(skb, offset);
	case IPPROTO_IPIP:
		return NETWORK(ETH_P_IP, offset);
	case IPPROTO_IPV6:
		return NETWORK(ETH_P_IPV6, offset);
	}
	return 0;
}

/* Length of all headers up to that of the transport, 0 if that has no segments. */
__noinline __u32 headers_up_to(struct __sk_buff *skb, __u32 transport)
{
	__u32 offset = transport & 0xffff;
	__u8 octet;

	switch (transport >> 16 & 0xff) {
	case IPPROTO_TCP:
		if (bpf_skb_load_bytes(skb, offset + 12, &octet, sizeof(octet)))
			return 0;
		return offset + (octet >> 4) * 4;
	case IPPROTO_UDP:
		return offset + 8;
	case IPPROTO_SCTP:
		return offset + 12;
	}
	return 0;
}

#define SEGMENT_HEADERS_LENGTH 0xffffU
#define SEGMENT_HEADERS_JUMBO TRANSPORT_JUMBO /* IPV6_JUMBO_LEN of them are not on the wire */

/* Length of the headers, 0 when it cannot be told. Datagrams may hold anything: what
 * looks like a tunnel is one if its inner packet goes on to the end of the skb, and not to
 * that of the first segment.
 */
__noinline __u32 segment_headers(struct __sk_buff *skb)
{
	__u32 network = behind_ethernet(skb, 0), headers = 0, jumbo = 0, transport, length;

#pragma unroll
	for (int i = 0; i <= MAX_TUNNELS; i++) {
		transport = behind_network(skb, network);
		if (!transport || (headers && !(transport & TRANSPORT_FILLS)))
			break;
		jumbo |= transport & TRANSPORT_JUMBO;
		length = headers_up_to(skb, transport);
		if (length)
			headers = length;
		network = behind_transport(skb, transport);
	}
	return (headers & SEGMENT_HEADERS_LENGTH) | jumbo;
}

#endif
