/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Ethernet and 802.1Q. */
#ifndef VLANDEMUX_VLAN_H
#define VLANDEMUX_VLAN_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "types.h"

#define VLAN_TAG_LEN 4
#define VLAN_VID_MASK 0x0fff
#define VLAN_VID_RESERVED 0x0fff

static __always_inline bool is_vlan_protocol(__be16 protocol)
{
	return protocol == bpf_htons(ETH_P_8021Q) || protocol == bpf_htons(ETH_P_8021AD);
}

/* The location of the sender of a frame that has just come in, tagged. */
static __always_inline __u64 ingress_location(const struct __sk_buff *skb)
{
	return pack_location(skb->ifindex, bpf_ntohs(skb->vlan_proto), skb->vlan_tci);
}

/* An outer tag which is in the skb already becomes the inner one. */
static __always_inline long push_tag(struct __sk_buff *skb, __u64 location)
{
	__u16 protocol = location >> 16;

	return bpf_skb_vlan_push(skb, bpf_htons(protocol), (__u16)location);
}

static __always_inline __u32 location_trunk(__u64 location)
{
	return (location & ~LOCATION_UNUSED) >> 32;
}

#endif
