/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is shared between the programs and the Go handle. */
#ifndef VLANDEMUX_TYPES_H
#define VLANDEMUX_TYPES_H

#include <linux/types.h>

/* Why a frame was not forwarded. The order is that of the public counters:
 * append only, a running release may be upgraded under traffic.
 */
enum drop_reason {
	DROP_UNTAGGED,       /* trunk: no VLAN tag */
	DROP_INVALID_SOURCE, /* trunk: source address is zero or a group */
	DROP_INVALID_VLAN,   /* trunk: VID 4095 */
	DROP_UNKNOWN_CLIENT, /* trunk: source address has no worker */
	DROP_NOT_ASSIGNED,   /* worker: destination is not a client of this worker */
	DROP_UNLEARNED,      /* worker: the client has not been seen yet */
	DROP_TAG_FAILED,     /* the kernel could not pop or push the tag */
	DROP_COPY_FAILED,    /* the kernel could not clone or queue a copy */
	DROP_REASONS,
};

struct mac {
	__u8 octets[6];
};

/* Written by user space only. */
struct client {
	__u32 slot;   /* index into locations and client_tallies */
	__u32 worker; /* ifindex */
};

struct tally {
	__u64 packets; /* wire frames */
	__u64 bytes;   /* octets on the trunk: with tags, without FCS */
};

struct client_tally {
	struct tally rx; /* from the client */
	struct tally tx; /* to the client */
};

/* Written and read by user space only: what client_tallies held when the slot
 * was given to its client, so that no counter is ever set back.
 */
struct slot {
	struct client_tally base;
	__u64 released; /* generation at which it was last freed, 0 for never */
};

struct cpu_state {
	struct tally passed; /* untagged frames left to the stack */
	__u64 events_lost;   /* the ring was full */
	__u64 flood;         /* number of the last group frame, see flood.h */
};

/* A location is one word, so that it is never seen half written: ifindex of
 * the trunk, protocol of the tag, TCI of the tag; 0 for never seen. A place is
 * a location without PCP and DEI.
 */
#define LOCATION_PLACE_MASK 0xffffffffffff0fffULL

static __attribute__((always_inline)) inline __u64
pack_location(__u32 trunk, __u16 protocol, __u16 tci)
{
	return (__u64)trunk << 32 | (__u64)protocol << 16 | tci;
}

struct event {
	__u64 from; /* location, 0 when the client is seen for the first time */
	__u64 to;
	__u64 time_ns; /* CLOCK_BOOTTIME */
	struct mac mac;
	__u16 reserved;
};

/* When a place last got a copy of a group frame, by number of the frame. */
#define PLACES_PER_PAGE 512
#define PLACE_PAGES 16 /* 2 protocols x 4096 VIDs */

struct place_page {
	__u64 flood[PLACES_PER_PAGE];
};

enum attach_role {
	ROLE_TRUNK = 1,
	ROLE_WORKER = 2,
};

enum attach_mode {
	MODE_TCX = 1,
	MODE_CLSACT = 2,
};

/* How an interface is attached, for the process that comes next. Not read by
 * the programs.
 */
struct attachment {
	enum attach_role role;
	enum attach_mode mode;
	__u32 owns_qdisc; /* the clsact qdisc was made by us */
};

/* Who runs the dataplane. Not read by the programs. */
struct owner {
	__u64 layout;     /* of these maps, see layoutVersion */
	__u64 generation; /* counts the processes that took over */
	__u64 releases;   /* counts the slots freed, for slot.released */
};

#endif
