/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Counting wire frames and octets. Counters are per CPU and written in softirq
 * context only, so plain additions are exact.
 */
#ifndef VLANDEMUX_COUNT_H
#define VLANDEMUX_COUNT_H

#include "maps.h"
#include "vlan.h"

#define IPPROTO_HOPOPTS 0
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_ROUTING 43
#define IPPROTO_FRAGMENT 44
#define IPPROTO_AH 51
#define IPPROTO_DSTOPTS 60
#define IPPROTO_MH 135

#define MAX_TAGS 8
#define MAX_EXTENSIONS 8

/* Length of the IPv6 header at offset, extension headers included; *protocol
 * becomes that of the payload. 0 when it cannot be told.
 */
static __always_inline __u32 ipv6_header_length(struct __sk_buff *skb, __u32 offset, __u8 *protocol)
{
	__u32 length = 40;
	__u8 next;

	if (bpf_skb_load_bytes(skb, offset + 6, &next, sizeof(next)))
		return 0;
	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		__u8 extension[2]; /* next header, length in a unit of its own */

		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_FRAGMENT &&
		    next != IPPROTO_AH && next != IPPROTO_DSTOPTS && next != IPPROTO_MH)
			break;
		if (bpf_skb_load_bytes(skb, offset + length, extension, sizeof(extension)))
			return 0;
		if (next == IPPROTO_FRAGMENT)
			length += 8;
		else if (next == IPPROTO_AH)
			length += (extension[1] + 2) * 4;
		else
			length += (extension[1] + 1) * 8;
		next = extension[0];
	}
	*protocol = next;
	return length;
}

/* Length of what each segment of a super-packet repeats: Ethernet header, tags
 * in the data, IP and TCP or UDP header. 0 when it cannot be told. A global
 * function, so that the verifier goes through it once and not for each call.
 */
__noinline __u32 segment_header_length(struct __sk_buff *skb)
{
	__u32 offset = ETH_HLEN, length;
	__be16 ethertype;
	__u8 octet, protocol = 0;

	if (bpf_skb_load_bytes(skb, offset - 2, &ethertype, sizeof(ethertype)))
		return 0;
	for (int i = 0; i < MAX_TAGS && is_vlan_protocol(ethertype); i++) {
		offset += VLAN_TAG_LEN;
		if (bpf_skb_load_bytes(skb, offset - 2, &ethertype, sizeof(ethertype)))
			return 0;
	}

	if (ethertype == bpf_htons(ETH_P_IP)) {
		if (bpf_skb_load_bytes(skb, offset, &octet, sizeof(octet)) ||
		    bpf_skb_load_bytes(skb, offset + 9, &protocol, sizeof(protocol)))
			return 0;
		length = (octet & 0x0f) * 4;
	} else if (ethertype == bpf_htons(ETH_P_IPV6)) {
		length = ipv6_header_length(skb, offset, &protocol);
	} else {
		return 0;
	}
	if (!length)
		return 0;
	offset += length;

	if (protocol == IPPROTO_UDP)
		return offset + 8;
	if (protocol != IPPROTO_TCP || bpf_skb_load_bytes(skb, offset + 12, &octet, sizeof(octet)))
		return 0;
	return offset + (octet >> 4) * 4;
}

/* What the skb stands for on a wire. gso_segs cannot be used where the header can be told: it is 0
 * on super-packets from an untrusted source (SKB_GSO_DODGY).
 */
static __always_inline void measure(struct __sk_buff *skb, struct tally *wire)
{
	__u32 gso_size = skb->gso_size, length = skb->len;
	__u64 segments = 1, header = 0;

	if (gso_size) {
		header = segment_header_length(skb);
		if (header && header < length)
			segments = ((__u64)length - header + gso_size - 1) / gso_size;
		else if (skb->gso_segs)
			segments = skb->gso_segs;
	}
	wire->packets = segments;
	wire->bytes = length + (segments - 1) * header;
	if (skb->vlan_present) /* outside of len */
		wire->bytes += segments * VLAN_TAG_LEN;
}

/* What it is once another tag has been pushed. */
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

/* A function of its own: that also puts enum drop_reason into the BTF, where
 * bpf2go finds it.
 */
static __noinline void count_drop(enum drop_reason reason, const struct tally *wire)
{
	__u32 key = reason;

	count(bpf_map_lookup_elem(&drops, &key), wire);
}

static __always_inline void count_rx(__u32 slot, const struct tally *wire)
{
	struct client_tally *tally = bpf_map_lookup_elem(&client_tallies, &slot);

	count(tally ? &tally->rx : NULL, wire);
}

static __always_inline void count_tx(__u32 slot, const struct tally *wire)
{
	struct client_tally *tally = bpf_map_lookup_elem(&client_tallies, &slot);

	count(tally ? &tally->tx : NULL, wire);
}

static __always_inline struct cpu_state *this_cpu_state(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&cpu_states, &zero);
}

#endif
