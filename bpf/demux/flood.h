/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Group frames: one copy for each distinct place of the worker's clients. A copy
 * has PCP 0 and DEI 0: a place has neither.
 */
#ifndef VLANDEMUX_FLOOD_H
#define VLANDEMUX_FLOOD_H

#include "../internal/find.h"
#include "count.h"
#include "limit.h"
#include "maps.h"
#include "places.h"
#include "vlan.h"
#include "watch.h"

struct flood {
	struct __sk_buff *skb;
	struct flood_state *state;
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

/* The steps return 1 to end. All is in one loop, and its state in a map: of loops in
 * loops, and of what it knows a variable to be, the verifier makes too many ways to go
 * when CAP_PERFMON is not there, and until 6.7 too few.
 */
static __always_inline long flood_place(struct __sk_buff *skb, struct flood_state *state)
{
	__u32 place = state->page * PAGE_PLACES + (take_bit(&state->places) & (PAGE_PLACES - 1));
	__u16 protocol = place > VLAN_VID_MASK ? ETH_P_8021AD : ETH_P_8021Q;
	__u64 to = pack_location(state->ifindex, protocol, place & VLAN_VID_MASK);

	state->located = 1;
	if (state->refused != NOT_REFUSED) {
		count_drop(skb, state->refused, &state->wire, state->mac, to);
		return 0;
	}
	if (push_tag(skb, to)) {
		count_drop(skb, DROP_TAG_FAILED, &state->wire, state->mac, to);
		return 0;
	}
	if (bpf_clone_redirect(skb, state->ifindex, 0))
		count_drop(skb, DROP_COPY_FAILED, &state->wire, state->mac, to);
	else
		count(&state->sent, &state->wire);
	if (bpf_skb_vlan_pop(skb)) {
		/* The tag of this copy must not reach another place. */
		count_drop(skb, DROP_TAG_FAILED, &state->wire, state->mac, to);
		return 1;
	}
	return 0;
}

static __always_inline void open_page(struct flood_state *state)
{
	struct page_key key = {.worker = state->worker, .trunk = state->trunk};
	struct page *page;

	state->page = state->word * 64 + take_bit(&state->pages);
	key.page = state->page;
	page = bpf_map_lookup_elem(&place_pages, &key);
	if (page)
		state->places = *(volatile __u32 *)&page->used;
}

static __always_inline long open_trunk(struct flood_state *state)
{
	struct pages_key key = {.worker = state->worker};
	struct pages *pages;
	__u32 *ifindex, number = state->next_trunk;

	if (number >= state->trunks)
		return 1;
	state->next_trunk++;
	ifindex = bpf_map_lookup_elem(&trunk_indexes, &number);
	if (!ifindex || !*ifindex)
		return 0;
	key.trunk = number;
	pages = bpf_map_lookup_elem(&worker_pages, &key);
	if (!pages)
		return 0;
	for (int i = 0; i < PLACE_WORDS; i++)
		state->words[i] = *(volatile __u64 *)&pages->used[i];
	state->trunk = number;
	state->ifindex = *ifindex;
	state->refused = trunk_refuses(*ifindex, state->longest);
	state->next_word = 0;
	return 0;
}

static long flood_step(__u32 index, struct flood *flood)
{
	struct flood_state *state = flood->state;

	if (state->places)
		return flood_place(flood->skb, state);
	if (state->pages) {
		open_page(state);
		return 0;
	}
	if (state->next_word < PLACE_WORDS) {
		state->word = state->next_word++;
		state->pages = state->words[state->word & (PLACE_WORDS - 1)];
		return 0;
	}
	return open_trunk(state);
}

/* Each place, page, word of pages and trunk at most, and the end. */
#define MAX_FLOOD_STEPS (MAX_TRUNKS * (2 * 4096 + PLACE_PAGES + PLACE_WORDS + 1) + 1)

/* Between two group frames of a worker, in the long run; 0 for no limit. */
const volatile __u64 group_interval_ns = 0;

/* Those of a second may come at once. */
static __always_inline bool over_group_limit(__u32 *worker, const struct tally *wire)
{
	__u64 *clock;

	if (!group_interval_ns)
		return false;
	clock = bpf_map_lookup_elem(&group_clocks, worker);
	return clock && !take_tokens(clock, bpf_ktime_get_ns(), group_interval_ns, wire->packets);
}

static __always_inline void walk_places(struct flood *flood)
{
	flood->state->next_word = PLACE_WORDS;
	flood->state->next_trunk = 0;
	bpf_loop(MAX_FLOOD_STEPS, flood_step, flood, 0);
}

/* Every copy is a clone and the frame itself is dropped, which does not count. */
static __noinline void flood_clients(struct __sk_buff *skb, const struct tally *wire, __u64 mac, __u32 longest)
{
	__u32 ifindex = skb->ifindex, zero = 0, *number = find(&worker_numbers, &ifindex);
	struct flood flood = {.skb = skb};
	struct worker_state *worker = NULL;
	struct settings *settings;

	if (number)
		worker = bpf_map_lookup_elem(&worker_states, number);
	settings = bpf_map_lookup_elem(&settings_map, &zero);
	flood.state = bpf_map_lookup_elem(&flood_states, &zero);
	if (!number || !worker || !settings || !flood.state || !*(volatile __u64 *)&worker->clients) {
		count_drop(skb, DROP_NOT_ASSIGNED, wire, mac, 0);
		return;
	}
	if (over_group_limit(number, wire)) {
		count_drop(skb, DROP_GROUP_LIMIT, wire, mac, 0);
		return;
	}
	recount_clients(*number);
	flood.state->mac = mac;
	flood.state->wire = *wire;
	add_tag(&flood.state->wire);
	flood.state->sent = (struct tally){};
	flood.state->places = flood.state->pages = 0;
	flood.state->trunks = settings->trunks;
	flood.state->longest = longest;
	flood.state->worker = *number;
	flood.state->located = 0;
	walk_places(&flood);
	if (!flood.state->located)
		walk_places(&flood); /* a client that moved may have been ahead of the first one, and then behind */
	if (!flood.state->located)
		count_drop(skb, DROP_UNLEARNED, wire, mac, 0);
	else if (flood.state->sent.packets)
		count(bpf_map_lookup_elem(&worker_floods, number), &flood.state->sent);
}

#endif
