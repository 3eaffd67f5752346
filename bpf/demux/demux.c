// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//go:build ignore

/*
 *            tagged, any VLAN                          untagged
 *   clients ================== trunk [phys2virt] --> worker   (by source MAC)
 *   clients ================== trunk <-- [virt2phys] worker   (by destination MAC)
 *
 * Both run at tc ingress, through TCX or clsact. By then the kernel has taken
 * the outer tag of a frame out of the data, into skb->vlan_*. early_drop runs before, in
 * the driver of a trunk, where it is asked for. Each frame that
 * enters is counted exactly once: for a client, as passed, or as
 * dropped for one reason; a group frame once for each copy.
 */
#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "types.h"
#include "maps.h"
#include "vlan.h"
#include "client.h"
#include "count.h"
#include "limit.h"
#include "places.h"
#include "learn.h"
#include "deliver.h"
#include "flood.h"
#include "watch.h"
#include "early.h"

const volatile bool pass_untagged = false;
const volatile enum unknown_policy unknown_macs = UNKNOWN_DROP;

static __always_inline int drop(const struct __sk_buff *skb, enum drop_reason reason, const struct tally *wire, __u64 mac, __u64 place)
{
	count_drop(skb, reason, wire, mac, place);
	return TC_ACT_SHOT;
}

static __always_inline int untagged(const struct __sk_buff *skb, const struct tally *wire)
{
	struct cpu_state *state;
	__u64 to, mac = 0;

	if (!pass_untagged) {
		load_addresses(skb, &to, &mac);
		return drop(skb, DROP_UNTAGGED, wire, mac, 0);
	}
	state = this_cpu_state();
	count(state ? &state->passed : NULL, wire);
	return TC_ACT_UNSPEC; /* whatever is attached behind us may have its say */
}

/* A frame of a MAC without a worker. Nothing is learned from it. */
static __noinline int unknown(struct __sk_buff *skb, const struct tally *wire, __u64 mac, __u64 seen, __u32 longest)
{
	enum unknown_policy unknowns = unknown_macs;
	__u32 to, refused;

	if (unknowns == UNKNOWN_DROP)
		return drop(skb, DROP_UNKNOWN_CLIENT, wire, mac, seen);
	if (unknowns == UNKNOWN_PASS) {
		count_reason(UNKNOWN_PASSED, wire);
		return TC_ACT_UNSPEC;
	}
	to = policy.default_worker;
	if (!to)
		return drop(skb, DROP_NO_WORKER, wire, mac, seen);
	if (bpf_skb_vlan_pop(skb))
		return drop(skb, DROP_TAG_FAILED, wire, mac, seen);
	refused = worker_refuses(skb, to & ~WORKER_PEER, longest);
	if (refused != NOT_REFUSED)
		return drop(skb, refused, wire, mac, seen);
	count_reason(UNKNOWN_FORWARDED, wire);
	return deliver(skb, to);
}

/* In both, what most frames do is in one piece, without a jump, and what few do stands behind it. The limit is loaded first: after
 * a system call its page may have to be looked up, which then takes no longer than the look-ups of the others.
 */
SEC("tc")
int phys2virt(struct __sk_buff *skb)
{
	__u64 mac = 0, seen = 0, to, hash, value, slot;
	struct client_tally *tallies;
	struct client *client;
	__u32 limit = policy.worker_limit, longest = skb->len, refused;
	struct tally wire = {1, longest};

	if (skb->gso_size)
		goto segments;
measured:
	if (!skb->vlan_present)
		goto untagged;
	add_tag(&wire);
	barrier(); /* what the frame counts is loaded again in the end: there is no register to keep it in */
	seen = ingress_location(skb);
	if (!load_addresses(skb, &to, &mac) || !mac || is_group(mac))
		goto invalid_source;
	if ((skb->vlan_tci & VLAN_VID_MASK) == VLAN_VID_RESERVED)
		goto invalid_vlan;
	tallies = this_cpu_tallies();
	if (!tallies)
		goto unreachable;
	client = first_entry(mac, &hash, tallies);
	if (!is_entry_of(mac, client))
		goto further;
found:
	value = client_value(client);
	slot = value_slot(value);
	if (!value_target(value))
		goto no_worker;
	if (!is_slot(&slot))
		goto unreachable;
	if (bpf_skb_vlan_pop(skb))
		goto tag_failed;
	/* Beside the counters, with no call in between: of many clients neither is in a cache, and the
	 * processor waits for both at once. Only what is new is stored: clients that stay where they are cost no cache line.
	 */
	if (*(volatile __u64 *)own_location(slot) != seen)
		goto learn;
learned:
	if (longest > limit)
		goto long_frame;
fits:
	count(&tallies[slot].rx, &wire);
	if (value_target(value) & WORKER_PEER)
		goto peer;
	return bpf_redirect(value_target(value), 0);

segments:
	longest = measure_segments(skb, &wire);
	goto measured;
further:
	client = find_further(mac, hash, client);
	if (client)
		goto found;
	return unknown(skb, &wire, mac, seen, longest);
learn:
	if (learn_change(slot, mac, seen))
		goto learned;
	return drop(skb, DROP_WRONG_PLACE, &wire, mac, seen);
long_frame:
	refused = worker_refuses(skb, value_worker(value), longest);
	if (refused == NOT_REFUSED)
		goto fits;
	return drop(skb, refused, &wire, mac, seen);
peer:
	return deliver_to_peer(skb, value_worker(value));
untagged:
	return untagged(skb, &wire);
invalid_source:
	return drop(skb, DROP_INVALID_SOURCE, &wire, mac, seen);
invalid_vlan:
	return drop(skb, DROP_INVALID_VLAN, &wire, mac, seen);
no_worker:
	return drop(skb, DROP_NO_WORKER, &wire, mac, seen);
tag_failed:
	return drop(skb, DROP_TAG_FAILED, &wire, mac, seen);
unreachable:
	return TC_ACT_SHOT; /* but the verifier cannot know */
}

SEC("tc")
int virt2phys(struct __sk_buff *skb)
{
	__u64 to = 0, mac = 0, from, hash, value, slot;
	struct client_tally *tallies;
	struct client *client;
	__u32 limit = policy.trunk_limit, longest = skb->len, refused;
	struct tally wire = {1, longest};

	if (skb->gso_size)
		goto segments;
measured:
	if (skb->vlan_present)
		goto tagged;
untagged:
	if (!load_addresses(skb, &mac, &from))
		goto not_assigned;
	if (is_group(mac))
		goto flood;
	if (!mac)
		goto not_assigned;
	tallies = this_cpu_tallies();
	if (!tallies)
		goto unreachable;
	client = first_entry(mac, &hash, tallies);
	if (!is_entry_of(mac, client))
		goto further;
found:
	value = client_value(client);
	slot = value_slot(value);
	if (value_worker(value) != skb->ifindex)
		goto not_assigned;
	if (!is_slot(&slot))
		goto unreachable;
	to = *(volatile __u64 *)own_location(slot);
	if (!(to >> 32))
		goto elsewhere;
located:
	if (longest > limit)
		goto long_frame;
fits:
	if (push_tag(skb, to))
		goto tag_failed;
	add_tag(&wire);
	count(&tallies[slot].tx, &wire);
	return bpf_redirect(location_trunk(to), 0);

segments:
	longest = measure_segments(skb, &wire);
	goto measured;
tagged:
	add_tag(&wire);
	longest += VLAN_TAG_LEN; /* the outermost tag is to be the one pushed */
	goto untagged;
further:
	client = find_further(mac, hash, client);
	if (client)
		goto found;
	goto not_assigned;
elsewhere:
	to = former_location(to);
	if (to)
		goto located;
	return drop(skb, DROP_UNLEARNED, &wire, mac, to);
long_frame:
	refused = trunk_refuses(location_trunk(to), longest);
	if (refused == NOT_REFUSED)
		goto fits;
	return drop(skb, refused, &wire, mac, to);
flood:
	flood_clients(skb, &wire, mac, longest);
	return TC_ACT_SHOT;
not_assigned:
	return drop(skb, DROP_NOT_ASSIGNED, &wire, mac, to);
tag_failed:
	return drop(skb, DROP_TAG_FAILED, &wire, mac, to);
unreachable:
	return TC_ACT_SHOT; /* but the verifier cannot know */
}

static long recount_listed(__u32 index, struct __sk_buff **skb)
{
	__u32 slot;

	if (bpf_skb_load_bytes(*skb, ETH_HLEN + index * sizeof(slot), &slot, sizeof(slot)))
		return 1;
	recount_client(slot);
	return 0;
}

/* Run by user space, once it has changed the worker or the location of clients:
 * the slots stand behind an Ethernet header.
 */
SEC("tc")
int recount(struct __sk_buff *skb)
{
	bpf_loop((skb->len - ETH_HLEN) / sizeof(__u32), recount_listed, &skb, 0);
	return TC_ACT_OK;
}

static long forget_listed(__u32 index, struct __sk_buff **skb)
{
	struct forgotten what;

	if (bpf_skb_load_bytes(*skb, ETH_HLEN + index * sizeof(what), &what, sizeof(what)))
		return 1;
	forget_location(&what);
	return 0;
}

/* Run by user space, with what is to be forgotten behind an Ethernet header. */
SEC("tc")
int forget(struct __sk_buff *skb)
{
	bpf_loop((skb->len - ETH_HLEN) / sizeof(struct forgotten), forget_listed, &skb, 0);
	return TC_ACT_OK;
}

char _license[] SEC("license") = "Dual BSD/GPL";
