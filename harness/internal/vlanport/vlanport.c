// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//go:build ignore

/*
 *   client --- access port [from_port] \
 *                                       learning switch [from_trunk] === trunk
 *   client --- access port [from_port] /
 *
 * Both run at tc ingress of the switch's interfaces. Frames are untagged on
 * access ports and tagged on the trunk; what the bridge of the kernel does for
 * each VLAN is done here for each (trunk, protocol, VID).
 */
#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "../../../bpf/internal/find.h"

#define VLAN_VID_MASK 0x0fff
#define MAX_PORTS 4096
#define MAX_STATIONS 65536

struct vlan {
	__u32 trunk; /* ifindex */
	__u16 protocol;
	__u16 vid;
};

struct station {
	struct vlan vlan;
	__u8 address[ETH_ALEN];
	__u16 reserved;
};

/* Access ports by ifindex. Written by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PORTS);
	__type(key, __u32);
	__type(value, struct vlan);
	__uint(map_flags, BPF_F_RDONLY_PROG);
} ports SEC(".maps");

/* The access ports of each VLAN: lists that are replaced, never changed. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, MAX_PORTS);
	__type(key, struct vlan);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_ARRAY);
		__uint(max_entries, 1); /* any, thanks to BPF_F_INNER_MAP */
		__type(key, __u32);
		__type(value, __u32);
		__uint(map_flags, BPF_F_INNER_MAP | BPF_F_RDONLY_PROG);
	});
} members SEC(".maps");

/* Where each station of each VLAN is: ifindex of an access port or the trunk.
 * When it is full, frames to further stations are flooded.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_STATIONS);
	__type(key, struct station);
	__type(value, __u32);
} stations SEC(".maps");

struct flood {
	struct __sk_buff *skb;
	void *list;
	__u32 ingress;
};

static __always_inline bool is_group(const __u8 *address)
{
	return address[0] & 1;
}

static __always_inline bool is_zero(const __u8 *address)
{
	return !(address[0] | address[1] | address[2] | address[3] | address[4] | address[5]);
}

/* 01:80:c2:00:00:01, which no bridge forwards. */
static __always_inline bool is_pause(const __u8 *address)
{
	return address[0] == 0x01 && address[1] == 0x80 && address[2] == 0xc2 &&
	       !address[3] && !address[4] && address[5] == 0x01;
}

static __always_inline bool same_vlan(const struct vlan *a, const struct vlan *b)
{
	return a->trunk == b->trunk && a->protocol == b->protocol && a->vid == b->vid;
}

static __always_inline long push_tag(struct __sk_buff *skb, const struct vlan *vlan)
{
	return bpf_skb_vlan_push(skb, bpf_htons(vlan->protocol), vlan->vid);
}

/* Learns the source and finds the destination. Returns false when the frame
 * must not be forwarded; *port is 0 when it has to be flooded.
 */
static __always_inline bool switch_frame(struct __sk_buff *skb, const struct vlan *vlan, __u32 *port)
{
	struct ethhdr *eth = (void *)(long)skb->data;
	struct station station = {.vlan = *vlan};
	__u32 ingress = skb->ifindex, *known;
	struct vlan *now;

	*port = 0;
	if ((void *)(eth + 1) > (void *)(long)skb->data_end)
		return false;
	if (is_group(eth->h_source) || is_zero(eth->h_source) || is_pause(eth->h_dest))
		return false;

	__builtin_memcpy(station.address, eth->h_source, ETH_ALEN);
	known = bpf_map_lookup_elem(&stations, &station);
	if (!known)
		bpf_map_update_elem(&stations, &station, &ingress, BPF_ANY);
	else if (*(volatile __u32 *)known != ingress)
		*(volatile __u32 *)known = ingress;

	if (is_group(eth->h_dest))
		return true;
	__builtin_memcpy(station.address, eth->h_dest, ETH_ALEN);
	known = bpf_map_lookup_elem(&stations, &station);
	if (!known)
		return true;
	*port = *(volatile __u32 *)known;
	if (*port == ingress)
		return false;
	if (*port == vlan->trunk)
		return true;
	now = find(&ports, port);
	if (!now || !same_vlan(now, vlan))
		*port = 0; /* it has just left the VLAN */
	return true;
}

/* Returns 1 to end the loop. */
static long copy_to_port(__u32 index, struct flood *flood)
{
	__u32 *port = bpf_map_lookup_elem(flood->list, &index);

	if (!port)
		return 1;
	if (*port != flood->ingress)
		bpf_clone_redirect(flood->skb, *port, 0);
	return 0;
}

static __always_inline bool flood_ports(struct __sk_buff *skb, struct vlan *vlan)
{
	struct flood flood = {.skb = skb, .ingress = skb->ifindex};

	flood.list = find(&members, vlan);
	if (!flood.list)
		return false;
	bpf_loop(MAX_PORTS, copy_to_port, &flood, 0);
	return true;
}

SEC("tc")
int from_port(struct __sk_buff *skb)
{
	__u32 ingress = skb->ifindex, port;
	struct vlan vlan, *assigned;

	assigned = find(&ports, &ingress);
	if (!assigned)
		return TC_ACT_SHOT;
	vlan = *assigned;
	if (!switch_frame(skb, &vlan, &port))
		return TC_ACT_SHOT;
	if (port && port != vlan.trunk)
		return bpf_redirect(port, 0);
	if (!port)
		flood_ports(skb, &vlan);
	if (push_tag(skb, &vlan)) /* a tag the frame came with becomes the inner one */
		return TC_ACT_SHOT;
	return bpf_redirect(vlan.trunk, 0);
}

SEC("tc")
int from_trunk(struct __sk_buff *skb)
{
	struct vlan vlan = {.trunk = skb->ifindex};
	__u32 port;

	if (!skb->vlan_present)
		return TC_ACT_SHOT;
	vlan.protocol = bpf_ntohs(skb->vlan_proto);
	vlan.vid = skb->vlan_tci & VLAN_VID_MASK;
	if (!find(&members, &vlan))
		return TC_ACT_SHOT; /* and learn nothing: no port has the VLAN */
	if (!switch_frame(skb, &vlan, &port))
		return TC_ACT_SHOT;
	if (bpf_skb_vlan_pop(skb))
		return TC_ACT_SHOT;
	if (port)
		return bpf_redirect(port, 0);
	flood_ports(skb, &vlan);
	return TC_ACT_SHOT;
}

char _license[] SEC("license") = "Dual BSD/GPL";
