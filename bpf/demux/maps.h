/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef VLANDEMUX_MAPS_H
#define VLANDEMUX_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "types.h"

/* Sizes marked "capacity" and "workers" are set by the loader. */

/* The assignments: MAC -> slot and worker. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* capacity */
	__type(key, struct mac);
	__type(value, struct client);
	__uint(map_flags, BPF_F_RDONLY_PROG);
} clients SEC(".maps");

/* Where each client was last seen, by slot. Mapped by user space, which reads
 * whole words and clears with compare-and-swap.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* capacity */
	__type(key, __u32);
	__type(value, __u64);
	__uint(map_flags, BPF_F_MMAPABLE);
} locations SEC(".maps");

/* By slot; only ever counts up. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1); /* capacity */
	__type(key, __u32);
	__type(value, struct client_tally);
} client_tallies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* capacity */
	__type(key, __u32);
	__type(value, struct slot);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DROP_REASONS);
	__type(key, __u32);
	__type(value, struct tally);
} drops SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cpu_state);
} cpu_states SEC(".maps");

/* Worker ifindex -> the slots of its clients. A list is never changed, only
 * replaced, so a group frame meets the old one or the new one.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 1); /* workers */
	__type(key, __u32);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_ARRAY);
		__uint(max_entries, 1); /* any, thanks to BPF_F_INNER_MAP */
		__type(key, __u32);
		__type(value, __u32);
		__uint(map_flags, BPF_F_INNER_MAP | BPF_F_RDONLY_PROG);
	});
} worker_clients SEC(".maps");

/* Copies of group frames, by worker ifindex. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1); /* workers */
	__type(key, __u32);
	__type(value, struct tally);
} worker_floods SEC(".maps");

/* Trunk ifindex -> its places, for telling distinct ones. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 256);
	__type(key, __u32);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
		__uint(max_entries, PLACE_PAGES);
		__type(key, __u32);
		__uint(value_size, sizeof(struct place_page)); /* clang forgets the type here */
	});
} trunk_places SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

/* The rest belongs to user space. */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* workers + trunks */
	__type(key, __u32);
	__type(value, struct attachment);
	__uint(map_flags, BPF_F_RDONLY_PROG);
} attachments SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct owner);
	__uint(map_flags, BPF_F_RDONLY_PROG);
} owners SEC(".maps");

#endif
