/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Group frames: one copy for each distinct place of the worker's clients. A copy
 * has PCP 0 and DEI 0: a place has neither.
 */
#ifndef VLANDEMUX_FLOOD_H
#define VLANDEMUX_FLOOD_H

#include "../internal/find.h"
#include "count.h"
#include "maps.h"
#include "vlan.h"

struct flood {
	struct __sk_buff *skb;
	struct page *page;
	struct pages *pages;
	struct tally wire;  /* of one copy */
	struct tally sent;  /* of all copies */
	__u64 places;       /* of the page, those to come */
	__u64 used;         /* pages of the word, those to come */
	__u32 worker;       /* number */
	__u32 trunk;        /* number */
	__u32 ifindex;      /* of the trunk */
	__u32 word;         /* of pages */
	__u32 page_number;
	bool located;       /* a client has a location on an attached trunk */
	bool failed;        /* the skb cannot be used any more */
};

/* The bits of a de Bruijn sequence: its product with a power of two has that
 * power's place in this table in its six top bits. Comparisons instead would
 * give the verifier 64 ways to go.
 */
#define DE_BRUIJN 0x03f79d71b4cb0a89ULL

static const __u8 bit_numbers[64] = {
	0, 1, 48, 2, 57, 49, 28, 3, 61, 58, 50, 42, 38, 29, 17, 4,
	62, 55, 59, 36, 53, 51, 43, 22, 45, 39, 33, 30, 24, 18, 12, 5,
	63, 47, 56, 27, 60, 41, 37, 16, 54, 35, 52, 21, 44, 32, 23, 11,
	46, 26, 40, 15, 34, 20, 31, 10, 25, 14, 19, 9, 13, 8, 7, 6,
};

/* The number of the lowest bit that is set, which is taken off. */
static __always_inline __u32 take_bit(__u64 *bits)
{
	__u64 low = *bits & -*bits;

	*bits ^= low;
	return bit_numbers[low * DE_BRUIJN >> 58];
}

/* The loops below return 1 to end. */
static long flood_place(__u32 index, struct flood *flood)
{
	struct __sk_buff *skb = flood->skb;
	__u32 place;
	__u64 to;

	if (!flood->places)
		return 1;
	place = flood->page_number * PAGE_PLACES + (take_bit(&flood->places) & (PAGE_PLACES - 1));
	to = pack_location(flood->ifindex, place > VLAN_VID_MASK ? ETH_P_8021AD : ETH_P_8021Q, place & VLAN_VID_MASK);
	flood->located = true;
	if (push_tag(skb, to)) {
		count_drop(DROP_TAG_FAILED, &flood->wire);
		return 0;
	}
	if (bpf_clone_redirect(skb, flood->ifindex, 0)) {
		count_drop(DROP_COPY_FAILED, &flood->wire);
	} else {
		flood->sent.packets += flood->wire.packets;
		flood->sent.bytes += flood->wire.bytes;
	}
	if (bpf_skb_vlan_pop(skb)) {
		/* The tag of this copy must not reach another place. */
		count_drop(DROP_TAG_FAILED, &flood->wire);
		flood->failed = true;
		return 1;
	}
	return 0;
}

static long flood_page(__u32 index, struct flood *flood)
{
	struct page_key key = {.worker = flood->worker, .trunk = flood->trunk};
	struct page *page;

	if (!flood->used || flood->failed)
		return 1;
	flood->page_number = flood->word * 64 + take_bit(&flood->used);
	key.page = flood->page_number;
	page = bpf_map_lookup_elem(&place_pages, &key);
	if (!page)
		return 0;
	flood->places = *(volatile __u32 *)&page->used;
	bpf_loop(PAGE_PLACES, flood_place, flood, 0);
	return 0;
}

static long flood_word(__u32 index, struct flood *flood)
{
	flood->used = *(volatile __u64 *)&flood->pages->used[index & (PLACE_WORDS - 1)];
	flood->word = index;
	if (flood->used)
		bpf_loop(64, flood_page, flood, 0);
	return 0;
}

static long flood_trunk(__u32 number, struct flood *flood)
{
	struct pages_key key = {.worker = flood->worker, .trunk = number};
	struct pages *pages;
	__u32 *ifindex;

	if (flood->failed)
		return 1;
	ifindex = bpf_map_lookup_elem(&trunk_indexes, &number);
	if (!ifindex || !*ifindex)
		return 0;
	pages = bpf_map_lookup_elem(&worker_pages, &key);
	if (!pages)
		return 0;
	flood->pages = pages;
	flood->trunk = number;
	flood->ifindex = *ifindex;
	bpf_loop(PLACE_WORDS, flood_word, flood, 0);
	return 0;
}

/* Every copy is a clone and the frame itself is dropped, which does not count. */
static __always_inline void flood_clients(struct __sk_buff *skb, const struct tally *wire)
{
	__u32 ifindex = skb->ifindex, zero = 0, *number = find(&worker_numbers, &ifindex);
	struct flood flood = {.skb = skb, .wire = *wire};
	struct worker_state *worker;
	struct settings *settings;

	if (number)
		flood.worker = *number;
	worker = bpf_map_lookup_elem(&worker_states, &flood.worker);
	settings = bpf_map_lookup_elem(&settings_map, &zero);
	if (!worker || !settings || !*(volatile __u64 *)&worker->clients) {
		count_drop(DROP_NOT_ASSIGNED, wire);
		return;
	}
	add_tag(&flood.wire);
	bpf_loop(settings->trunks, flood_trunk, &flood, 0);
	if (!flood.located)
		count_drop(DROP_UNLEARNED, wire);
	else if (flood.sent.packets)
		count(bpf_map_lookup_elem(&worker_floods, &flood.worker), &flood.sent);
}

#endif
