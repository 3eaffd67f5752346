/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Dropping frames of unknown MACs in the trunk's driver (native XDP), before the kernel makes packets of them. */
#ifndef VLANDEMUX_EARLY_H
#define VLANDEMUX_EARLY_H

#include "client.h"
#include "vlan.h"
#include "watch.h"

/* The kernel drops a tagged frame that has less without a word: skb_vlan_untag looks at the payload. */
struct tagged_frame {
	__u8 dest[ETH_ALEN];
	__u8 source[ETH_ALEN];
	__be16 protocol;
	__be16 tci;
	__be16 inner_protocol;
	__be16 payload;
};

/* It drops what phys2virt would drop as DROP_UNKNOWN_CLIENT, and counts and tells the same. All else is left to
 * phys2virt, which has names for it: so is a frame whose tag is not in the page, since the NIC has taken it off.
 * The driver polls in softirq context, as phys2virt runs: see count.h.
 */
SEC("xdp.frags")
int early_drop(struct xdp_md *xdp)
{
	const struct tagged_frame *frame = (void *)(long)xdp->data;
	struct tally wire = {.packets = 1};
	__u16 tci;
	__u64 mac;

	if ((void *)(frame + 1) > (void *)(long)xdp->data_end || !is_vlan_protocol(frame->protocol))
		return XDP_PASS;
	mac = mac_word(frame->source);
	tci = bpf_ntohs(frame->tci);
	if (!mac || is_group(mac) || (tci & VLAN_VID_MASK) == VLAN_VID_RESERVED || is_client(mac))
		return XDP_PASS;
	wire.bytes = bpf_xdp_get_buff_len(xdp);
	count_drop_on(xdp->ingress_ifindex, DROP_UNKNOWN_CLIENT, &wire, mac,
		      pack_location(xdp->ingress_ifindex, bpf_ntohs(frame->protocol), tci));
	return XDP_DROP;
}

#endif
