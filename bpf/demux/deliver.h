/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The last step of a frame for a worker. */
#ifndef VLANDEMUX_DELIVER_H
#define VLANDEMUX_DELIVER_H

#include <linux/if_packet.h>

#include "maps.h"

/* Takes the place of what veth does with a frame on its way to its other end. The kernel does not look whose address
 * the frame has any more: as seen from the trunk it is another host's, which IP would drop. Newer kernels, 6.1.192, 6.12.117 and
 * 6.18 among them, say by themselves that it is for this one, of a group frame as well.
 */
static __always_inline int deliver_to_peer(struct __sk_buff *skb, __u32 ifindex)
{
	skb->mark = 0;
	skb->priority = 0;
	if (skb->pkt_type == PACKET_OTHERHOST)
		bpf_skb_change_type(skb, PACKET_HOST);
	return bpf_redirect_peer(ifindex, 0);
}

/* to is where frames of the worker go, see WORKER_PEER. */
static __always_inline int deliver(struct __sk_buff *skb, __u32 to)
{
	if (to & WORKER_PEER)
		return deliver_to_peer(skb, to & ~WORKER_PEER);
	return bpf_redirect(to, 0);
}

#endif
