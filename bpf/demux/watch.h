/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Telling user space of frames that are dropped, while it asks to be told. */
#ifndef VLANDEMUX_WATCH_H
#define VLANDEMUX_WATCH_H

#include "count.h"
#include "maps.h"

#define NSEC_PER_SEC 1000000000ULL

/* Takes what the packets cost from a bucket that holds a second's worth of them, at one each
 * interval; false if it holds less than one. When other CPUs win each time, they pass.
 */
static __always_inline bool take_tokens(__u64 *clock, __u64 now, __u64 interval, __u64 packets)
{
	__u64 until;

#pragma unroll
	for (int i = 0; i < 4; i++) {
		until = *(volatile __u64 *)clock;
		if (until > now + NSEC_PER_SEC - interval)
			return false;
		if (__sync_val_compare_and_swap(clock, until, (until > now ? until : now) + packets * interval) == until)
			break;
	}
	return true;
}

static __always_inline __u64 *drop_watch_word(__u32 which)
{
	return bpf_map_lookup_elem(&drop_watch, &which);
}

/* Once a second for each MAC and reason, and DROP_LINES times for all. */
static __noinline void report_drop(struct drop *drop)
{
	__u64 key = drop->mac | (__u64)drop->reason << 48, now = bpf_ktime_get_ns(), *until, *clock, due;
	struct drop_rate none = {}, *rate;

	until = drop_watch_word(DROP_WATCH_UNTIL);
	clock = drop_watch_word(DROP_WATCH_CLOCK);
	if (!until || !clock || now >= *(volatile __u64 *)until)
		return;
	rate = bpf_map_lookup_elem(&drop_rates, &key);
	if (!rate) {
		bpf_map_update_elem(&drop_rates, &key, &none, BPF_NOEXIST);
		rate = bpf_map_lookup_elem(&drop_rates, &key);
		if (!rate)
			return;
	}
	__sync_fetch_and_add(&rate->packets, drop->packets);
	due = *(volatile __u64 *)&rate->due_ns;
	if (now < due || !take_tokens(clock, now, NSEC_PER_SEC / DROP_LINES, 1) ||
	    __sync_val_compare_and_swap(&rate->due_ns, due, now + NSEC_PER_SEC) != due)
		return;
	drop->time_ns = bpf_ktime_get_boot_ns();
	drop->packets = __sync_lock_test_and_set(&rate->packets, 0);
	if (bpf_ringbuf_output(&drop_events, drop, sizeof(*drop), 0))
		__sync_fetch_and_add(&rate->packets, drop->packets);
}

static __always_inline void count_drop_on(__u32 ifindex, enum drop_reason reason, const struct tally *wire, __u64 mac, __u64 place)
{
	__u64 *until;

	count_reason(reason, wire);
	until = drop_watch_word(DROP_WATCH_UNTIL);
	if (until && *(volatile __u64 *)until) {
		struct drop drop = {.mac = mac, .place = place, .packets = wire->packets, .ifindex = ifindex, .reason = reason};

		report_drop(&drop);
	}
}

/* A function of its own: that also puts enum drop_reason into the BTF, where bpf2go finds it.
 * The MAC is the client's, or that of who would be one; the place is 0 if there is none.
 */
static __noinline void count_drop(const struct __sk_buff *skb, enum drop_reason reason, const struct tally *wire, __u64 mac, __u64 place)
{
	count_drop_on(skb->ifindex, reason, wire, mac, place);
}

#endif
