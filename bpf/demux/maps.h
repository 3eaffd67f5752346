/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef VLANDEMUX_MAPS_H
#define VLANDEMUX_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "types.h"

/* Sizes marked "capacity" and "workers" are set by the loader. */

/* The assignments: a cuckoo hash table of MACs, see client.h. All its buckets are one value. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__uint(value_size, sizeof(struct client_bucket)); /* times a power of two, from the capacity */
	__uint(map_flags, BPF_F_MMAPABLE);
} clients SEC(".maps");

/* Where each client was last seen, by slot, all in one value: written by the programs. Mapped by user space, which
 * reads whole words, sets 0 in the slot of a client that no program knows yet, exchanges a location
 * for the same one with LOCATION_UNUSED, and carries over what an earlier build's programs learned.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__uint(value_size, sizeof(__u64)); /* times the capacity */
	__uint(map_flags, BPF_F_MMAPABLE);
} locations SEC(".maps");

/* The locations of the maps that ours take over from, by the slots there: in one value, or a value each. Not pinned. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__uint(value_size, sizeof(__u64));
	__uint(map_flags, BPF_F_MMAPABLE);
} former_locations SEC(".maps");

/* The slots of clients whose locations may be in those maps. Not pinned, mapped by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << 14); /* a group frame looks at each of them, which takes it 10 to 20 ns */
	__type(key, __u32);
	__type(value, __u64);
	__uint(map_flags, BPF_F_MMAPABLE);
} former_clients SEC(".maps");

/* A value for each possible processor, by slot in it; only ever counts up. A per-CPU array would keep a
 * pointer to each counter, which is one more wait for the memory.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* processors */
	__type(key, __u32);
	__uint(value_size, sizeof(struct client_tally)); /* times the capacity, and what fills the last page */
	__uint(map_flags, BPF_F_MMAPABLE);
} client_tallies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* capacity */
	__type(key, __u32);
	__type(value, struct slot);
	__uint(map_flags, BPF_F_MMAPABLE);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_DROP_REASONS);
	__type(key, __u32);
	__type(value, struct tally);
} drops SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cpu_state);
} cpu_states SEC(".maps");

/* The number of each client's worker, by slot, 0 for none. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* capacity */
	__type(key, __u32);
	__type(value, __u64);
	__uint(map_flags, BPF_F_MMAPABLE);
} client_workers SEC(".maps");

/* By slot. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* capacity */
	__type(key, __u32);
	__type(value, struct place_rule);
	__uint(map_flags, BPF_F_MMAPABLE);
} place_rules SEC(".maps");

/* Where restricted clients may be. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* places */
	__type(key, struct allowed_place);
	__type(value, __u8);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_RDONLY_PROG);
} allowed_places SEC(".maps");

/* What each client counts as in pages, by slot. Written by the programs only. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* capacity */
	__type(key, __u32);
	__type(value, __u64);
} counted_places SEC(".maps");

/* Where a worker has clients on a trunk. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* workers */
	__type(key, struct pages_key);
	__type(value, struct pages);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} worker_pages SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* pages */
	__type(key, struct page_key);
	__type(value, struct page);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} place_pages SEC(".maps");

/* ifindex -> number, of the devices that are there. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_TRUNKS);
	__type(key, __u32);
	__type(value, __u32);
	__uint(map_flags, BPF_F_RDONLY_PROG);
} trunk_numbers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* workers */
	__type(key, __u32);
	__type(value, __u32);
	__uint(map_flags, BPF_F_RDONLY_PROG);
} worker_numbers SEC(".maps");

/* trunk number -> ifindex */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_TRUNKS);
	__type(key, __u32);
	__type(value, __u32);
	__uint(map_flags, BPF_F_RDONLY_PROG);
} trunk_indexes SEC(".maps");

/* By worker number. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* workers + 1 */
	__type(key, __u32);
	__type(value, struct worker_state);
	__uint(map_flags, BPF_F_MMAPABLE);
} worker_states SEC(".maps");

/* Copies of group frames, by worker number. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1); /* workers + 1 */
	__type(key, __u32);
	__type(value, struct tally);
} worker_floods SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
	__uint(map_flags, BPF_F_MMAPABLE);
} settings_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct policies);
	__uint(map_flags, BPF_F_MMAPABLE);
} policies_map SEC(".maps");

/* The values of policies_map, clients and locations: the loader has programs address them there, which takes no lookup. */
volatile struct policies policy SEC(".data.policies");
struct client_bucket first_bucket SEC(".data.clients");
__u64 first_location SEC(".data.locations");

/* ifindex -> limit, 0 for a trunk that is down. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* workers + trunks */
	__type(key, __u32);
	__type(value, __u32);
	__uint(map_flags, BPF_F_RDONLY_PROG);
} limits SEC(".maps");

/* By worker number: when it will have sent its group frames, at the rate of the limit. Not
 * pinned: each process begins anew.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* workers + 1 */
	__type(key, __u32);
	__type(value, __u64);
} group_clocks SEC(".maps");

/* One a CPU: a flood ends before its CPU handles another frame. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flood_state);
} flood_states SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

/* Not pinned, these three: who watches does so in the process that attached the programs. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} drop_watch SEC(".maps");

/* MAC | reason << 48 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct drop_rate);
} drop_rates SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} drop_events SEC(".maps");

/* The rest belongs to user space. */

/* Replacing the element waits for the programs that are running. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_ARRAY);
		__uint(max_entries, 1);
		__type(key, __u32);
		__type(value, __u32);
	});
} grace_period SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* workers + trunks */
	__uint(key_size, DEVICE_NAME_LEN);
	__type(value, struct device);
	__uint(map_flags, BPF_F_RDONLY_PROG);
} devices SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct owner);
	__uint(map_flags, BPF_F_RDONLY_PROG);
} owners SEC(".maps");

#endif
