/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Counting the clients of each worker at each place. */
#ifndef VLANDEMUX_PLACES_H
#define VLANDEMUX_PLACES_H

#include "client.h"
#include "count.h"
#include "maps.h"

#define COUNTED_TRUNK_SHIFT 13
#define COUNTED_WORKER_SHIFT 21

/* A place with the number of its trunk, which must be there; false if it has none. */
static __always_inline bool place_on_trunk(__u64 location, __u32 *place)
{
	__u32 trunk = location_trunk(location), *number = bpf_map_lookup_elem(&trunk_numbers, &trunk);

	if (!number)
		return false;
	*place = *number << COUNTED_TRUNK_SHIFT | (location & VLAN_VID_MASK);
	if ((__u16)(location >> 16) == ETH_P_8021AD)
		*place |= VLAN_VID_MASK + 1;
	return true;
}

/* Where the client should count now, 0 for nowhere. */
__noinline __u64 place_of_client(__u32 slot)
{
	__u64 *worker = bpf_map_lookup_elem(&client_workers, &slot), at, number;
	__u32 place;

	if (!worker)
		return 0;
	number = *(volatile __u64 *)worker;
	at = location_of(slot);
	if (!number || !at || !place_on_trunk(at, &place))
		return 0;
	return number << COUNTED_WORKER_SHIFT | place | COUNTED_VALID;
}

/* Adds by to the clients at the place. Another CPU may take a client off before
 * this one has added it: a count is below zero for that moment. It and the next are
 * global functions, so that the verifier goes through each once.
 */
__noinline int count_client(__u64 counted, __s32 by)
{
	__u32 place = counted & ((1 << COUNTED_TRUNK_SHIFT) - 1);
	struct page_key key = {
		.worker = (counted & ~COUNTED_VALID) >> COUNTED_WORKER_SHIFT,
		.trunk = counted >> COUNTED_TRUNK_SHIFT & (MAX_TRUNKS - 1),
		.page = place / PAGE_PLACES,
	};
	struct pages_key pages_key = {.worker = key.worker, .trunk = key.trunk};
	struct cpu_state *state;
	struct pages *pages;
	struct page *page;
	__u64 *word, bit;
	__s32 *clients;

	place %= PAGE_PLACES;
	pages = bpf_map_lookup_elem(&worker_pages, &pages_key);
	if (!pages) {
		struct pages none = {};

		bpf_map_update_elem(&worker_pages, &pages_key, &none, BPF_NOEXIST);
		pages = bpf_map_lookup_elem(&worker_pages, &pages_key);
	}
	page = bpf_map_lookup_elem(&place_pages, &key);
	if (!page) {
		struct page none = {};

		bpf_map_update_elem(&place_pages, &key, &none, BPF_NOEXIST);
		page = bpf_map_lookup_elem(&place_pages, &key);
		if (pages)
			__sync_fetch_and_or(&pages->made[key.page / 64 & (PLACE_WORDS - 1)], 1ULL << (key.page & 63));
	}
	if (!page || !pages) {
		state = this_cpu_state();
		if (state)
			state->places_lost++;
		return 0;
	}
	word = &pages->used[key.page / 64 & (PLACE_WORDS - 1)];
	bit = 1ULL << (key.page & 63);
	/* Without CAP_PERFMON the verifier refuses to add the index to the address of the
	 * lock, as the compiler would: it may add it to this one only.
	 */
	clients = page->clients;
	asm volatile("" : "+r"(clients));
	clients += place & (PAGE_PLACES - 1);
	bpf_spin_lock(&page->lock);
	*clients += by;
	if (*clients > 0)
		page->used |= 1U << place;
	else
		page->used &= ~(1U << place);
	if (page->used)
		__sync_fetch_and_or(word, bit);
	else
		__sync_fetch_and_and(word, ~bit);
	bpf_spin_unlock(&page->lock);
	return 0;
}

#define MAX_RECOUNTS 16

/* Makes the client count where it should. To be called after each change of its
 * location or worker. Whoever exchanges the word last has looked at the state
 * after that, so the last change is never missed.
 */
__noinline int recount_client(__u32 slot)
{
	__u64 *counted = bpf_map_lookup_elem(&counted_places, &slot), now, before;

	if (!counted)
		return 0;
#pragma unroll
	for (int i = 0; i < MAX_RECOUNTS; i++) {
		now = place_of_client(slot);
		before = __sync_lock_test_and_set(counted, now);
		if (before == now)
			break;
		if (now) /* first: a group frame may find it at both places rather than at none */
			count_client(now, 1);
		if (before)
			count_client(before, -1);
	}
	return 0;
}

static long recount_if_of(__u32 index, __u32 *worker)
{
	__u64 *listed = bpf_map_lookup_elem(&former_clients, &index), *number, *counted;
	__u32 slot;

	if (!listed)
		return 1;
	slot = *listed;
	number = bpf_map_lookup_elem(&client_workers, &slot);
	counted = bpf_map_lookup_elem(&counted_places, &slot);
	if (number && counted && *(volatile __u64 *)number == *worker && *(volatile __u64 *)counted != place_of_client(slot))
		recount_client(slot);
	return 0;
}

/* While earlier programs run too: what they learn is counted in their own maps. */
static __always_inline void recount_clients(__u32 worker)
{
	__u32 clients = policy.former_clients;

	if (clients)
		bpf_loop(clients, recount_if_of, &worker, 0);
}

#endif
