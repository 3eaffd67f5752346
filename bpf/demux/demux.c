// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//go:build ignore

/*
 *            tagged, any VLAN                          untagged
 *   clients ================== trunk [phys2virt] --> worker   (by source MAC)
 *   clients ================== trunk <-- [virt2phys] worker   (by destination MAC)
 *
 * Both run at tc ingress, through TCX or clsact. By then the kernel has taken
 * the outer tag of a frame out of the data, into skb->vlan_*. Each frame that
 * enters a program is counted exactly once: for a client, as passed, or as
 * dropped for one reason; a group frame once for each copy.
 */
#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "../internal/find.h"
#include "types.h"
#include "maps.h"
#include "vlan.h"
#include "count.h"
#include "learn.h"
#include "flood.h"

const volatile bool pass_untagged = false;

static __always_inline int drop(enum drop_reason reason, const struct tally *wire)
{
	count_drop(reason, wire);
	return TC_ACT_SHOT;
}

static __always_inline int untagged(const struct tally *wire)
{
	struct cpu_state *state;

	if (!pass_untagged)
		return drop(DROP_UNTAGGED, wire);
	state = this_cpu_state();
	count(state ? &state->passed : NULL, wire);
	return TC_ACT_UNSPEC; /* whatever is attached behind us may have its say */
}

SEC("tc")
int phys2virt(struct __sk_buff *skb)
{
	struct client *client;
	struct ethhdr *eth;
	struct tally wire;
	__u32 slot, worker;

	measure(skb, &wire);
	if (!skb->vlan_present)
		return untagged(&wire);
	eth = ethernet_header(skb);
	if (!eth || is_group(eth->h_source) || is_zero(eth->h_source))
		return drop(DROP_INVALID_SOURCE, &wire);
	if ((skb->vlan_tci & VLAN_VID_MASK) == VLAN_VID_RESERVED)
		return drop(DROP_INVALID_VLAN, &wire);
	client = find(&clients, eth->h_source);
	if (!client)
		return drop(DROP_UNKNOWN_CLIENT, &wire);
	slot = client->slot;
	worker = client->worker;

	learn_location(slot, eth->h_source, ingress_location(skb));
	if (bpf_skb_vlan_pop(skb))
		return drop(DROP_TAG_FAILED, &wire);
	count_rx(slot, &wire);
	return bpf_redirect(worker, 0);
}

SEC("tc")
int virt2phys(struct __sk_buff *skb)
{
	struct client *client;
	struct ethhdr *eth;
	struct tally wire;
	__u64 *location, to;
	__u32 slot;

	measure(skb, &wire);
	eth = ethernet_header(skb);
	if (eth && is_group(eth->h_dest)) {
		flood_clients(skb, &wire);
		return TC_ACT_SHOT;
	}
	client = eth ? find(&clients, eth->h_dest) : NULL;
	if (!client || client->worker != skb->ifindex)
		return drop(DROP_NOT_ASSIGNED, &wire);
	slot = client->slot;
	location = bpf_map_lookup_elem(&locations, &slot);
	to = location ? *(volatile __u64 *)location : 0;
	if (!to)
		return drop(DROP_UNLEARNED, &wire);

	if (push_tag(skb, to))
		return drop(DROP_TAG_FAILED, &wire);
	add_tag(&wire);
	count_tx(slot, &wire);
	return bpf_redirect(location_trunk(to), 0);
}

char _license[] SEC("license") = "Dual BSD/GPL";
