/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef VLANDEMUX_LEARN_H
#define VLANDEMUX_LEARN_H

#include "client.h"
#include "count.h"
#include "maps.h"
#include "places.h"

static __noinline void report(const struct event *event)
{
	struct cpu_state *state;

	if (!bpf_ringbuf_output(&events, (void *)event, sizeof(*event), 0))
		return;
	state = this_cpu_state();
	if (state)
		state->events_lost++;
}

/* Whether a restricted client may not be where it is seen. Announced once a second. A rule that is
 * being made refuses nothing yet: user space looks at the location once every program sees it.
 */
static __noinline bool refuse_place(__u32 slot, __u64 mac, __u64 known, __u64 seen)
{
	struct place_rule *rule = bpf_map_lookup_elem(&place_rules, &slot);
	struct allowed_place key = {.slot = slot};
	struct event refusal = {.from = known, .to = seen, .refused = 1};
	__u64 before;

	if (!rule || !*(volatile __u64 *)&rule->restricted)
		return false;
	if (place_on_trunk(seen, &key.place) && bpf_map_lookup_elem(&allowed_places, &key))
		return false;
	refusal.time_ns = bpf_ktime_get_boot_ns();
	before = *(volatile __u64 *)&rule->announced_ns;
	if (before && refusal.time_ns - before < REFUSALS_APART_NS)
		return true;
	if (__sync_val_compare_and_swap(&rule->announced_ns, before, refusal.time_ns) == before) {
		mac_octets(&refusal.mac, mac);
		report(&refusal);
	}
	return true;
}

/* Returns false if the client may not be there, and nothing is learned. When another CPU wins the exchange,
 * this frame counts as the earlier one of the two: the chain of events has no gap.
 */
static __noinline bool learn_change(__u32 slot, __u64 mac, __u64 seen)
{
	__u64 *location = find_location(slot), known;
	bool moved;

	if (!location)
		return true;
	known = *(volatile __u64 *)location;
	if (known == seen)
		return true;
	moved = (known & LOCATION_PLACE_MASK) != (seen & LOCATION_PLACE_MASK);
	if (moved && refuse_place(slot, mac, known, seen))
		return false;
	if (__sync_val_compare_and_swap(location, known, seen) == known && moved) {
		struct event move = {.from = known, .to = seen};

		move.time_ns = bpf_ktime_get_boot_ns();
		mac_octets(&move.mac, mac);
		report(&move);
		recount_client(slot);
	}
	return true;
}

/* A client that is seen at this moment keeps its location: whoever exchanges the word first has
 * it, as among programs that learn.
 */
static __noinline void forget_location(const struct forgotten *what)
{
	struct event move = {.from = what->location, .time_ns = bpf_ktime_get_boot_ns()};
	__u32 slot = what->slot;
	__u64 *location = find_location(slot);

	if (!location || __sync_val_compare_and_swap(location, what->location, 0) != what->location)
		return;
	if (what->mac) {
		mac_octets(&move.mac, what->mac);
		report(&move);
	}
	recount_client(slot);
}

#endif
