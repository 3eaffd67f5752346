/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef VLANDEMUX_LEARN_H
#define VLANDEMUX_LEARN_H

#include "client.h"
#include "count.h"
#include "maps.h"
#include "places.h"

static __noinline void report_move(const struct event *move)
{
	struct cpu_state *state;

	if (!bpf_ringbuf_output(&events, (void *)move, sizeof(*move), 0))
		return;
	state = this_cpu_state();
	if (state)
		state->events_lost++;
}

/* Stores only what is new, so that clients which stay where they are cost no
 * cache line. When another CPU wins the exchange, this frame counts as the
 * earlier one of the two: the chain of events has no gap.
 */
static __always_inline void learn_location(__u32 slot, __u64 mac, __u64 seen)
{
	__u64 *location = bpf_map_lookup_elem(&locations, &slot), known;

	if (!location)
		return;
	known = *(volatile __u64 *)location;
	if (known == seen)
		return;
	if (__sync_val_compare_and_swap(location, known, seen) != known)
		return;
	if ((known & LOCATION_PLACE_MASK) != (seen & LOCATION_PLACE_MASK)) {
		struct event move = {.from = known, .to = seen};

		move.time_ns = bpf_ktime_get_boot_ns();
		mac_octets(&move.mac, mac);
		report_move(&move);
		recount_client(slot);
	}
}

#endif
