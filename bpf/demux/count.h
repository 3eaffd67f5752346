/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Counting wire frames and octets. Each processor has counters of its own and writes them in
 * softirq context only, so plain additions are exact.
 */
#ifndef VLANDEMUX_COUNT_H
#define VLANDEMUX_COUNT_H

#include "client.h"
#include "maps.h"
#include "segments.h"
#include "vlan.h"

/* What a super-packet stands for on a wire, without an outer tag. It returns how many octets the longest frame has in the
 * data, so without a tag that is beside it; ETH_HLEN if that cannot be told, which no device finds too long.
 * gso_segs cannot be used where the headers can be told: it is 0 on super-packets from an untrusted source (SKB_GSO_DODGY).
 */
static __noinline __u32 measure_segments(struct __sk_buff *skb, struct tally *wire)
{
	__u32 headers = segment_headers(skb), gso_size = skb->gso_size, length = skb->len, longest = ETH_HLEN;
	__u64 segments = 1, header = headers & SEGMENT_HEADERS_LENGTH, jumbo = 0;

	if (headers & SEGMENT_HEADERS_JUMBO)
		jumbo = IPV6_JUMBO_LEN;
	if (header && header < length && gso_size != GSO_BY_FRAGS) {
		segments = ((__u64)length - header + gso_size - 1) / gso_size;
		longest = (segments > 1 ? header + gso_size : length) - jumbo;
	} else if (skb->gso_segs) {
		segments = skb->gso_segs;
	}
	wire->packets = segments;
	wire->bytes = length + (segments - 1) * header - segments * jumbo;
	return longest;
}

/* The outer tag is beside the data, or is still to be pushed. */
static __always_inline void add_tag(struct tally *wire)
{
	wire->bytes += wire->packets * VLAN_TAG_LEN;
}

static __always_inline void count(struct tally *tally, const struct tally *wire)
{
	if (!tally) /* unreachable, but the verifier cannot know */
		return;
	tally->packets += wire->packets;
	tally->bytes += wire->bytes;
}

static __always_inline void count_reason(__u32 reason, const struct tally *wire)
{
	count(bpf_map_lookup_elem(&drops, &reason), wire);
}

static __always_inline struct cpu_state *this_cpu_state(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&cpu_states, &zero);
}

#endif
