/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Looking a client up by its MAC. */
#ifndef VLANDEMUX_CLIENT_H
#define VLANDEMUX_CLIENT_H

#include <linux/if_ether.h>

#include "maps.h"

const volatile __u64 first_seed = 1, second_seed = 1; /* odd */
const volatile __u32 bucket_shift = 63;

/* The address as a number: its last octet on the wire is bits 40 to 47. */
static __always_inline __u64 mac_word(const __u8 *address)
{
	__u32 head = *(const __u32 *)address;
	__u16 tail = *(const __u16 *)(address + sizeof(head));

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return (__u64)tail << 32 | head;
#else
	return (__u64)__builtin_bswap16(tail) << 32 | __builtin_bswap32(head);
#endif
}

static __always_inline void mac_octets(struct mac *mac, __u64 word)
{
#pragma unroll
	for (int i = 0; i < ETH_ALEN; i++)
		mac->octets[i] = word >> i * 8;
}

static __always_inline bool is_group(__u64 mac)
{
	return mac & 1;
}

/* The addresses of the frame; false when the device is none of Ethernet: the receive
 * path of one has pulled the header into the linear part of the skb.
 */
static __always_inline bool load_addresses(const struct __sk_buff *skb, __u64 *dest, __u64 *source)
{
	const struct ethhdr *eth = (void *)(long)skb->data;

	if ((void *)(eth + 1) > (void *)(long)skb->data_end)
		return false;
	*dest = mac_word(eth->h_dest);
	*source = mac_word(eth->h_source);
	return true;
}

static __always_inline bool is_entry_of(__u64 mac, const struct client *entry)
{
	return *(const volatile __u64 *)&entry->key == mac;
}

static __always_inline struct client *find_in_bucket(__u64 mac, struct client *bucket, int first)
{
#pragma unroll
	for (int i = first; i < BUCKET_CLIENTS; i++) {
		if (is_entry_of(mac, bucket + i))
			return bucket + i;
	}
	return NULL;
}

/* A MAC is in one of two buckets: the top bits of its hash are the number of the first, the bits below those of the second.
 * One product of the MAC for each bucket would not do: the MACs of a site follow one another, and with one pair of seeds
 * in 800 more of them have both products nearly in common than have room there (Dietzfelbinger and Schellbach,
 * On risks of using cuckoo hashing with simple universal hash classes, SODA 2009).
 */
static __always_inline __u64 mac_hash(__u64 mac)
{
	__u64 product = mac * first_seed;

	return (product ^ product >> 32) * second_seed;
}

/* The pointer, of which the compiler is to know no more than that it is not NULL: an array has more elements than are declared. */
#define OPAQUE(pointer) ({ typeof(pointer) opaque = (pointer); asm volatile("" : "+r"(opaque)); __builtin_assume(opaque != NULL); opaque; })

/* The first entry of the bucket. */
static __always_inline struct client *find_bucket(__u64 hash)
{
	return OPAQUE(&first_bucket)[hash >> bucket_shift].clients;
}

#define SECOND_BUCKET_SHIFT 21

/* A function of its own, so that it has its registers for itself. */
static __noinline struct client *find_in_second_bucket(__u64 mac, __u64 hash)
{
	return find_in_bucket(mac, find_bucket(hash << SECOND_BUCKET_SHIFT), 0);
}

const volatile __u32 capacity = 1;

/* The capacity, loaded as foldConstants expects, and each time: the compiler may do it with two registers, or keep it in one. */
static __always_inline __u64 slot_count(void)
{
	__u64 count;

	asm volatile("%0 = %1 ll\n\t%0 = *(u32 *)(%0 + 0)" : "=r"(count) : "i"(&capacity));
	return count;
}

/* The verifier wants the very register compared that is added to an address later. */
static __always_inline bool is_below(__u64 *number, __u64 count)
{
	asm volatile("" : "+r"(*number));
	return *number < count;
}

/* Whether there is such a slot: user space writes no other number. */
static __always_inline bool is_slot(__u64 *number)
{
	return is_below(number, slot_count());
}

/* Where the location of the client is: at first in our maps. */
static __always_inline __u64 *own_location(__u64 slot)
{
	return OPAQUE(&first_location) + slot;
}

/* This processor's counters of all clients. */
static __always_inline struct client_tally *this_cpu_tallies(void)
{
	__u32 processor = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&client_tallies, &processor);
}

/* Loads what is most likely the location and the counters of the client, while its bucket is on the way from
 * memory: only that tells its slot, but user space chooses one in the same cache lines as this if it can.
 */
static __always_inline void fetch_home(__u64 hash, const struct client_tally *tallies)
{
	__u64 home = (hash >> 32) * slot_count() >> 32;

	*(volatile __u64 *)own_location(home);
	*(volatile __u64 *)&tallies[home].rx.packets;
}

/* The first entry of the first bucket, in which most MACs are that are known. */
static __always_inline struct client *first_entry(__u64 mac, __u64 *hash, const struct client_tally *tallies)
{
	*hash = mac_hash(mac);
	fetch_home(*hash, tallies);
	return find_bucket(*hash);
}

/* The entry of a MAC that the first entry of its first bucket is not of. The MAC must not be zero: that is what a free
 * entry has.
 */
static __always_inline struct client *find_further(__u64 mac, __u64 hash, struct client *bucket)
{
	struct client *client = find_in_bucket(mac, bucket, 1);

	return client ? client : find_in_second_bucket(mac, hash);
}

/* Where most MACs are unknown, what a client's frame needs is not fetched. */
static __always_inline bool is_client(__u64 mac)
{
	__u64 hash = mac_hash(mac);

	return find_in_bucket(mac, find_bucket(hash), 0) || find_in_second_bucket(mac, hash);
}

static __always_inline __u64 client_value(const struct client *client)
{
	return *(const volatile __u64 *)&client->value;
}

static __always_inline __u32 value_slot(__u64 value)
{
	return value;
}

/* Where its frames go, see WORKER_PEER. */
static __always_inline __u32 value_target(__u64 value)
{
	return value >> 32;
}

/* The index of its worker. */
static __always_inline __u32 value_worker(__u64 value)
{
	return value_target(value) & ~WORKER_PEER;
}

const volatile __u32 former_width = 1; /* how many locations a value of former_locations has */

static __always_inline __u64 *find_former_location(__u64 location)
{
	__u32 slot = location - 1, width = former_width, value = slot / width;
	__u64 *locations = bpf_map_lookup_elem(&former_locations, &value), number = slot % width;

	return locations && is_below(&number, width) ? OPAQUE(locations) + number : NULL;
}

/* Where the location of a client is. */
static __always_inline __u64 *find_location(__u64 slot)
{
	__u64 known;

	if (!is_slot(&slot))
		return NULL;
	known = *(volatile __u64 *)own_location(slot);
	return in_former_maps(known) ? find_former_location(known) : own_location(slot);
}

static __noinline __u64 former_location(__u64 location)
{
	__u64 *former = location ? find_former_location(location) : NULL;

	return former ? *(volatile __u64 *)former : 0;
}

static __always_inline __u64 location_of(__u64 slot)
{
	__u64 known = is_slot(&slot) ? *(volatile __u64 *)own_location(slot) : 0;

	return known >> 32 ? known : former_location(known);
}

#endif
