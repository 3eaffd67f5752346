/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Group frames: one copy for each distinct place of the worker's clients. */
#ifndef VLANDEMUX_FLOOD_H
#define VLANDEMUX_FLOOD_H

#include "../internal/find.h"
#include "count.h"
#include "maps.h"
#include "vlan.h"

const volatile __u32 capacity = 1;

struct flood {
	struct __sk_buff *skb;
	void *list;         /* slots of the worker's clients */
	__u64 number;       /* of this group frame on this CPU */
	struct tally wire;  /* of one copy */
	struct tally sent;  /* of all copies */
	/* A client has a location on an attached trunk. A count of them would give
	 * the verifier a new state with each iteration, up to the capacity.
	 */
	bool located;
};

/* Whether this group frame has not been copied to the place yet. The first
 * client in the list decides about PCP and DEI of a copy.
 */
static __always_inline bool claim_place(__u64 location, __u64 number, bool *located)
{
	__u32 trunk = location_trunk(location), vid = location & VLAN_VID_MASK, page;
	struct place_page *places;
	void *pages;

	pages = bpf_map_lookup_elem(&trunk_places, &trunk);
	if (!pages)
		return false;
	page = vid / PLACES_PER_PAGE;
	if ((__u16)(location >> 16) == ETH_P_8021AD)
		page += PLACE_PAGES / 2;
	places = bpf_map_lookup_elem(pages, &page);
	if (!places)
		return false;
	*located = true;
	vid %= PLACES_PER_PAGE;
	if (places->flood[vid] == number)
		return false;
	places->flood[vid] = number;
	return true;
}

/* Returns 1 to end the loop. */
static long flood_client(__u32 index, struct flood *flood)
{
	__u32 *slot = bpf_map_lookup_elem(flood->list, &index);
	struct __sk_buff *skb = flood->skb;
	bool located = false, claimed;
	__u64 *location, to;

	if (!slot)
		return 1;
	location = bpf_map_lookup_elem(&locations, slot);
	if (!location)
		return 1;
	to = *(volatile __u64 *)location;
	if (!to)
		return 0;
	claimed = claim_place(to, flood->number, &located);
	if (located)
		flood->located = true;
	if (!claimed)
		return 0;

	if (push_tag(skb, to)) {
		count_drop(DROP_TAG_FAILED, &flood->wire);
		return 0;
	}
	if (bpf_clone_redirect(skb, location_trunk(to), 0)) {
		count_drop(DROP_COPY_FAILED, &flood->wire);
	} else {
		flood->sent.packets += flood->wire.packets;
		flood->sent.bytes += flood->wire.bytes;
	}
	if (bpf_skb_vlan_pop(skb)) {
		/* The tag of this copy must not reach another place. */
		count_drop(DROP_TAG_FAILED, &flood->wire);
		return 1;
	}
	return 0;
}

/* Every copy is a clone and the frame itself is dropped, which does not count. */
static __always_inline void flood_clients(struct __sk_buff *skb, const struct tally *wire)
{
	struct cpu_state *state = this_cpu_state();
	struct flood flood = {.skb = skb, .wire = *wire};
	__u32 worker = skb->ifindex;

	flood.list = find(&worker_clients, &worker);
	if (!flood.list || !state) {
		count_drop(DROP_NOT_ASSIGNED, wire);
		return;
	}
	add_tag(&flood.wire);
	flood.number = ++state->flood;
	bpf_loop(capacity, flood_client, &flood, 0);
	if (!flood.located)
		count_drop(DROP_UNLEARNED, wire);
	else if (flood.sent.packets)
		count(bpf_map_lookup_elem(&worker_floods, &worker), &flood.sent);
}

#endif
