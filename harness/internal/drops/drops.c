// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//go:build ignore

/*
 * Copies the packets that the kernel drops in the network namespaces of a lab, with
 * the reason it gives (tracepoint skb:kfree_skb, reasons since Linux 5.17).
 */
#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#define MAX_NAMESPACES 4096
#define MAX_KINDS 4096
#define MAX_PLACES 1024
#define NO_MAC_HEADER 0xffff
#define OCTETS 192 /* all headers and the ID of a probe frame, with any tags and options */
#define RING (4 << 20)

/* The parts of the kernel's structures that are read; the loader finds where they are. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct ns_common {
	unsigned int inum;
};
struct net {
	struct ns_common ns;
};
typedef struct {
	struct net *net;
} possible_net_t;
struct net_device {
	char name[16];
	int ifindex;
	possible_net_t nd_net;
};
struct sock_common {
	possible_net_t skc_net;
};
struct sock {
	struct sock_common __sk_common;
};
struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	unsigned int len;
	__u16 mac_header;
	int skb_iif;
	unsigned int tail, end;
	unsigned char *head, *data;
};
struct skb_shared_info {
	unsigned short gso_size;
	unsigned short gso_segs;
};
#pragma clang attribute pop

/* Read by user space. */
struct drop {
	__u64 time; /* CLOCK_MONOTONIC, ns */
	__u64 place; /* in the kernel's code */
	__u32 netns; /* inode number of the network namespace */
	__u32 ifindex; /* 0 for none */
	__u32 reason; /* enum skb_drop_reason */
	__u32 length; /* octets of the packet from its MAC header on */
	__u16 captured; /* of these, how many are in octets */
	__u16 segment; /* payload octets of each frame of a super-packet, else 0 */
	char name[16]; /* of the interface */
	__u8 octets[OCTETS];
};

/* What is counted and, up to a limit, copied. */
struct kind {
	__u32 netns;
	__u32 ifindex;
	__u32 reason;
	__u32 reserved;
	__u64 place;
};

struct total {
	__u64 packets;
	__u64 lost; /* to be copied, and there was no room */
};

struct symbol {
	char text[64];
};

/* Namespaces whose drops are copied, by inode number. Written by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_NAMESPACES);
	__type(key, __u32);
	__type(value, __u8);
	__uint(map_flags, BPF_F_RDONLY_PROG);
} namespaces SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_KINDS);
	__type(key, struct kind);
	__type(value, struct total);
} totals SEC(".maps");

/* The function that each place belongs to. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PLACES);
	__type(key, __u64);
	__type(value, struct symbol);
} symbols SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING);
} ring SEC(".maps");

/* Drops that are not in totals, as that is full. Written by BPF. */
__u64 uncounted;

/* Set before the program is loaded. */
const volatile __u32 most_copied; /* packets of each kind */
const volatile bool has_receiver; /* the tracepoint tells the receiving socket: since 6.11 */

/* Kept for bpf2go. */
const struct drop *unused_drop __attribute__((unused));

static __always_inline __u32 namespace_of(struct net *net)
{
	return net ? BPF_CORE_READ(net, ns.inum) : 0;
}

static __always_inline bool ours(__u32 netns)
{
	return netns && bpf_map_lookup_elem(&namespaces, &netns);
}

static __always_inline void name_place(__u64 place)
{
	static const char format[] = "%ps";
	struct symbol symbol = {};

	if (bpf_map_lookup_elem(&symbols, &place))
		return;
	bpf_snprintf(symbol.text, sizeof(symbol.text), format, &place, sizeof(place));
	bpf_map_update_elem(&symbols, &place, &symbol, BPF_NOEXIST);
}

/* Whether the packet is to be copied. */
static __always_inline struct total *count(const struct kind *kind)
{
	struct total *total = bpf_map_lookup_elem(&totals, kind);

	if (!total) {
		struct total none = {};

		bpf_map_update_elem(&totals, kind, &none, BPF_NOEXIST);
		total = bpf_map_lookup_elem(&totals, kind);
		if (!total) {
			__sync_fetch_and_add(&uncounted, 1);
			return NULL;
		}
	}
	if (__sync_fetch_and_add(&total->packets, 1) >= most_copied)
		return NULL;
	return total;
}

static __always_inline void copy(struct drop *drop, struct sk_buff *skb)
{
	unsigned char *head = BPF_CORE_READ(skb, head), *data = BPF_CORE_READ(skb, data);
	struct skb_shared_info *shared = (void *)(head + BPF_CORE_READ(skb, end));
	__u32 start = BPF_CORE_READ(skb, mac_header), tail = BPF_CORE_READ(skb, tail);
	__u64 captured = 0; /* of 64 bits: the verifier of 6.1 loses the limit of a shorter one */

	drop->segment = BPF_CORE_READ(shared, gso_size);
	drop->length = BPF_CORE_READ(skb, len);
	if (start == NO_MAC_HEADER || start > tail) /* not yet, or not any more, an Ethernet frame */
		goto out;
	drop->length += (__u32)((__u64)data - (__u64)head) - start;
	captured = tail - start;
	asm volatile("" : "+r"(captured));
	if (captured > OCTETS)
		captured = OCTETS;
	if (bpf_probe_read_kernel(drop->octets, captured, head + start))
		captured = 0;
out:
	drop->captured = captured;
}

SEC("raw_tp/kfree_skb")
int dropped(struct bpf_raw_tracepoint_args *ctx)
{
	struct sk_buff *skb = (void *)ctx->args[0];
	struct net_device *dev = BPF_CORE_READ(skb, dev);
	struct kind kind = { .reason = ctx->args[2], .place = ctx->args[1] };
	struct total *total;
	struct drop *drop;

	/* In UDP's queues something else is kept where the device was: reading it fails, or finds no namespace of ours. */
	if (dev)
		kind.netns = namespace_of(BPF_CORE_READ(dev, nd_net.net));
	if (ours(kind.netns)) {
		kind.ifindex = BPF_CORE_READ(dev, ifindex);
	} else {
		struct sock *sk = BPF_CORE_READ(skb, sk);

		dev = NULL;
		if (!sk && has_receiver)
			sk = (void *)ctx->args[3];
		if (!sk)
			return 0;
		kind.netns = namespace_of(BPF_CORE_READ(sk, __sk_common.skc_net.net));
		if (!ours(kind.netns))
			return 0;
		kind.ifindex = BPF_CORE_READ(skb, skb_iif);
	}
	total = count(&kind);
	if (!total)
		return 0;
	name_place(kind.place);
	drop = bpf_ringbuf_reserve(&ring, sizeof(*drop), 0);
	if (!drop) {
		__sync_fetch_and_add(&total->lost, 1);
		return 0;
	}
	drop->time = bpf_ktime_get_ns();
	drop->place = kind.place;
	drop->netns = kind.netns;
	drop->ifindex = kind.ifindex;
	drop->reason = kind.reason;
	if (dev)
		bpf_probe_read_kernel(drop->name, sizeof(drop->name), dev->name);
	else
		drop->name[0] = 0;
	copy(drop, skb);
	bpf_ringbuf_submit(drop, BPF_RB_NO_WAKEUP);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
