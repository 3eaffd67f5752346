/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How long a frame may be. The kernel would drop what does not fit or what its device
 * cannot send, only later, where nobody counts it for a client.
 */
#ifndef VLANDEMUX_LIMIT_H
#define VLANDEMUX_LIMIT_H

#include "../internal/find.h"
#include "maps.h"
#include "vlan.h"

#define NOT_REFUSED DROP_REASONS

/* For frames above the least limit of all. */
static __noinline __u32 device_refuses(__u32 ifindex, __u32 longest)
{
	__u32 *limit = find(&limits, &ifindex);

	if (!limit || longest <= *limit)
		return NOT_REFUSED;
	return *limit ? DROP_TOO_LONG : DROP_NO_TRUNK;
}

/* Why a frame cannot be given to the device: a drop_reason, or NOT_REFUSED. */
static __always_inline __u32 trunk_refuses(__u32 ifindex, __u32 longest)
{
	return longest > policy.trunk_limit ? device_refuses(ifindex, longest) : NOT_REFUSED;
}

/* The same, once the outer tag has been taken off: an inner one is beside the data then, as it is when
 * the worker's device looks.
 */
static __always_inline __u32 worker_refuses(const struct __sk_buff *skb, __u32 ifindex, __u32 longest)
{
	if (longest <= policy.worker_limit)
		return NOT_REFUSED;
	return device_refuses(ifindex, skb->vlan_present ? longest - VLAN_TAG_LEN : longest);
}

#endif
