// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//go:build ignore

/* What vlandemux is measured against: programs that do less, and the algorithm
 * it started from.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

const volatile __u32 trunk = 0;  /* ifindex */
const volatile __u32 worker = 0; /* ifindex */
const volatile __u16 tci = 0;    /* of the client's access port */

/* Costs what the kernel's clock around each run costs. */
SEC("tc")
int empty(struct __sk_buff *skb)
{
	return TC_ACT_SHOT;
}

/* The limit: take the tag off and redirect, put the tag on and redirect. */
SEC("tc")
int limit_phys2virt(struct __sk_buff *skb)
{
	bpf_skb_vlan_pop(skb);
	return bpf_redirect(worker, 0);
}

SEC("tc")
int limit_virt2phys(struct __sk_buff *skb)
{
	bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), tci);
	return bpf_redirect(trunk, 0);
}

/* The limit of a group frame with one place to go: the tag on, one copy, the tag off for the next. */
SEC("tc")
int limit_group(struct __sk_buff *skb)
{
	bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), tci);
	bpf_clone_redirect(skb, trunk, 0);
	bpf_skb_vlan_pop(skb);
	return TC_ACT_SHOT;
}

/* The limit, but past the host's end of the worker's veth. */
SEC("tc")
int peer_phys2virt(struct __sk_buff *skb)
{
	bpf_skb_vlan_pop(skb);
	return bpf_redirect_peer(worker, 0);
}

/* The limit by native XDP. The worker's veth takes redirected frames only if its far end runs XDP too. */
SEC("xdp")
int xdp_phys2virt(struct xdp_md *xdp)
{
	__u8 *data = (void *)(long)xdp->data, macs[2 * ETH_ALEN];

	if (data + ETH_HLEN + 4 > (__u8 *)(long)xdp->data_end)
		return XDP_DROP;
	__builtin_memcpy(macs, data, sizeof(macs));
	__builtin_memcpy(data + 4, macs, sizeof(macs));
	if (bpf_xdp_adjust_head(xdp, 4))
		return XDP_DROP;
	return bpf_redirect(worker, 0);
}

SEC("xdp")
int xdp_pass(struct xdp_md *xdp)
{
	return XDP_PASS;
}

/* The seed: BCC's vlan_learning. A table by MAC and a table by worker, counters
 * that all processors share, the location stored in three pieces with each
 * frame, and a copy sent instead of the frame.
 */
struct seed_leaf {
	__u32 out_ifindex;
	__u16 vlan_tci;
	__u16 vlan_proto;
	__u64 tx_pkts;
	__u64 tx_bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* clients, set by the loader */
	__type(key, __u64);     /* MAC */
	__type(value, struct seed_leaf);
} seed_ingress SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32); /* ifindex of the worker */
	__type(value, struct seed_leaf);
} seed_egress SEC(".maps");

static __always_inline bool seed_mac(struct __sk_buff *skb, __u64 *mac)
{
	const __u8 *data = (void *)(long)skb->data;

	if (data + ETH_HLEN > (const __u8 *)(long)skb->data_end)
		return false;
	*mac = 0;
	__builtin_memcpy(mac, data + ETH_ALEN, ETH_ALEN);
	return true;
}

static __always_inline void seed_count(struct seed_leaf *leaf, const struct __sk_buff *skb)
{
	__sync_fetch_and_add(&leaf->tx_pkts, 1);
	__sync_fetch_and_add(&leaf->tx_bytes, skb->len);
}

SEC("tc")
int seed_phys2virt(struct __sk_buff *skb)
{
	struct seed_leaf *leaf, *back, none = {};
	__u32 out;
	__u64 mac;

	if (!skb->vlan_present || !seed_mac(skb, &mac))
		return TC_ACT_SHOT;
	leaf = bpf_map_lookup_elem(&seed_ingress, &mac);
	if (!leaf)
		return TC_ACT_SHOT;
	seed_count(leaf, skb);
	out = leaf->out_ifindex;
	back = bpf_map_lookup_elem(&seed_egress, &out);
	if (!back) {
		bpf_map_update_elem(&seed_egress, &out, &none, BPF_NOEXIST);
		back = bpf_map_lookup_elem(&seed_egress, &out);
	}
	if (back) {
		*(volatile __u32 *)&back->out_ifindex = skb->ifindex;
		*(volatile __u16 *)&back->vlan_tci = skb->vlan_tci;
		*(volatile __u16 *)&back->vlan_proto = skb->vlan_proto;
	}
	bpf_skb_vlan_pop(skb);
	bpf_clone_redirect(skb, out, 0);
	return TC_ACT_SHOT;
}

SEC("tc")
int seed_virt2phys(struct __sk_buff *skb)
{
	__u32 from = skb->ifindex;
	struct seed_leaf *leaf = bpf_map_lookup_elem(&seed_egress, &from);

	if (!leaf)
		return TC_ACT_SHOT;
	seed_count(leaf, skb);
	bpf_skb_vlan_push(skb, leaf->vlan_proto, leaf->vlan_tci);
	bpf_clone_redirect(skb, leaf->out_ifindex, 0);
	return TC_ACT_SHOT;
}

/* Run with live frames, a NIC that gets a frame of each client in turn: the kernel has a page for each frame of a
 * batch, and whoever got it before has moved its addresses.
 */
#define FEED_SLICE 128
#define FEED_SLICES 512

const volatile __u32 feed_to = 0;     /* ifindex, of the network namespace it is run in */
const volatile __u64 feed_dest = 0;   /* address, its first octet in bits 0 to 7 */
const volatile __u8 feed_source = 0;  /* first octet of the clients' addresses */
const volatile __u32 feed_clients = 1;
const volatile __u32 feed_stride = 0; /* at most feed_clients */
const volatile bool feed_tagged = false;
__u32 feed_next = 0; /* number of the client */
__u64 feed_sent = 0; /* frames */
__u64 feed_times[FEED_SLICES] = {}; /* when each slice of FEED_SLICE frames began, CLOCK_MONOTONIC */

SEC("xdp")
int feed(struct xdp_md *xdp)
{
	__u16 *data = (void *)(long)xdp->data;
	__u32 client = feed_next, next = client + feed_stride;
	__u64 sent = feed_sent;

	if (data + 8 > (__u16 *)(long)xdp->data_end)
		return XDP_DROP;
	feed_next = next < feed_clients ? next : next - feed_clients;
	if (!(sent % FEED_SLICE))
		feed_times[sent / FEED_SLICE % FEED_SLICES] = bpf_ktime_get_ns();
	feed_sent = sent + 1;
	__builtin_memcpy(data, (void *)&(__u64){feed_dest}, ETH_ALEN);
	data[3] = feed_source;
	data[4] = bpf_htons(client >> 16);
	data[5] = bpf_htons(client);
	if (feed_tagged) {
		data[6] = bpf_htons(ETH_P_8021Q);
		data[7] = bpf_htons(1 + client % 4094);
	}
	return bpf_redirect(feed_to, 0);
}

/* The client's access port, at egress and ingress of the client's interface: it
 * gives TCP a tagged path on kernels without VLAN interfaces.
 */
SEC("tc")
int port_push(struct __sk_buff *skb)
{
	return bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), tci) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

SEC("tc")
int port_pop(struct __sk_buff *skb)
{
	return skb->vlan_present && bpf_skb_vlan_pop(skb) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

char _license[] SEC("license") = "Dual BSD/GPL";
