/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is shared between the programs and the Go handle. */
#ifndef VLANDEMUX_TYPES_H
#define VLANDEMUX_TYPES_H

#include <linux/bpf.h>
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
	DROP_NO_WORKER,      /* trunk: the client's worker is not there, or down */
	DROP_TOO_LONG,       /* the frame has more octets than the worker or the trunk takes */
	DROP_NO_TRUNK,       /* worker: the client's trunk is down */
	DROP_GROUP_LIMIT,    /* worker: more group frames than it may send */
	DROP_WRONG_PLACE,    /* trunk: the client may not be there */
	DROP_REASONS,
};

/* How many reasons there can ever be: the map has room for a later build's. */
#define MAX_DROP_REASONS 32

/* The last two of them count what is no drop: tagged frames of MACs without a worker. */
#define UNKNOWN_PASSED 30    /* left to the stack */
#define UNKNOWN_FORWARDED 31 /* given to the default worker */

/* What becomes of those. */
enum unknown_policy {
	UNKNOWN_DROP,
	UNKNOWN_PASS,
	UNKNOWN_WORKER,
};

struct mac {
	__u8 octets[6];
};

/* One client in the table of clients: two words, each written in one store. Written by
 * user space only, read by the programs at any moment: see table.go for the order of writes.
 */
struct client {
	__u64 key;   /* the MAC, 0 for a free entry, more than a MAC for one that is not free yet */
	__u64 value; /* slot | where its frames go << 32: see WORKER_PEER */
};

/* Where frames of a worker go: the index of its interface, 0 if there is no worker. With this bit, to the other end
 * of that interface, which is in another network namespace.
 */
#define WORKER_PEER (1U << 31)

/* A cache line. */
#define BUCKET_CLIENTS 4

struct client_bucket {
	struct client clients[BUCKET_CLIENTS];
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
	__u64 places_lost;   /* no memory for a place: group frames miss it */
};

/* A location is one word, so that it is never seen half written: ifindex of
 * the trunk, protocol of the tag, TCI of the tag; 0 for never seen. A place is
 * a location without PCP and DEI.
 */
#define LOCATION_PLACE_MASK 0x7fffffffffff0fffULL

/* Set by user space in a location, which is the same as before then. The client's next frame
 * takes it off, so that a location which still has it was not used since.
 */
#define LOCATION_UNUSED (1ULL << 63)

/* While programs with other maps take over, programs of both run. What is learned stays in the earlier
 * maps then, where all of them look: a location without a trunk is a slot there, plus one. Written by
 * user space only.
 */
static __attribute__((always_inline)) inline int in_former_maps(__u64 location)
{
	return location && !(location >> 32);
}

static __attribute__((always_inline)) inline __u64
pack_location(__u32 trunk, __u16 protocol, __u16 tci)
{
	return (__u64)trunk << 32 | (__u64)protocol << 16 | tci;
}

struct event {
	__u64 from; /* location, LOCATION_UNUSED or not; 0 when the client is seen for the first time */
	__u64 to;   /* 0 when the location is forgotten */
	__u64 time_ns; /* CLOCK_BOOTTIME */
	struct mac mac;
	__u16 refused; /* 1: it was seen where it may not be, and the location stays */
};

/* A location to be forgotten, unless the client is somewhere else by then. */
struct forgotten {
	__u64 location; /* as it is in the map */
	__u64 mac; /* of the client, 0 to announce nothing */
	__u64 slot;
};

/* A frame that was dropped, told to who watches. */
struct drop {
	__u64 time_ns; /* CLOCK_BOOTTIME */
	__u64 mac;     /* of the client or who would be one: its last octet on the wire is bits 40 to 47 */
	__u64 place;   /* location, 0 if there is none */
	__u64 packets; /* wire frames: this, and those since the last that was told of the MAC and reason */
	__u32 ifindex; /* where it came in */
	enum drop_reason reason;
};

struct drop_rate {
	__u64 due_ns;  /* CLOCK_MONOTONIC: not told before */
	__u64 packets; /* not told yet */
};

/* The words of drop_watch, in CLOCK_MONOTONIC: user space writes until when it watches, so that
 * nobody is told of drops for long after a watcher was killed.
 */
#define DROP_WATCH_UNTIL 0
#define DROP_WATCH_CLOCK 1 /* of DROP_LINES a second */
#define DROP_LINES 100

/* Whether a client may be at some places only. */
struct place_rule {
	__u64 restricted;   /* to its allowed_places. Written by user space only */
	__u64 announced_ns; /* when a refusal was announced last, CLOCK_BOOTTIME. Written by the programs */
};

struct allowed_place {
	__u32 slot;
	__u32 place; /* on a trunk, see place_on_trunk */
};

#define REFUSALS_APART_NS 1000000000ULL

/* The places of a worker's clients. Places are counted, 16 VIDs to a page, and
 * a bit for each place and each page says where there is a client: a group frame
 * walks the bits. A page is (protocol << 12 | VID) / PAGE_PLACES.
 */
#define PAGE_PLACES 16
#define PLACE_PAGES 512 /* 2 protocols x 4096 VIDs */
#define PLACE_WORDS (PLACE_PAGES / 64)

/* What a client counts as, by slot: worker number | trunk number | place on the
 * trunk, with COUNTED_VALID. 0 for a client that was not seen.
 */
#define COUNTED_VALID (1ULL << 63)

struct pages_key {
	__u32 worker; /* number */
	__u32 trunk;  /* number */
};

struct pages {
	__u64 used[PLACE_WORDS]; /* bit: the page has a client */
	__u64 made[PLACE_WORDS]; /* bit: there is a page */
};

struct page_key {
	__u32 worker; /* number */
	__u16 trunk;  /* number */
	__u16 page;
};

struct page {
	struct bpf_spin_lock lock; /* guards the rest, and the page's bit in pages */
	__u32 used;                /* bit: the place has a client */
	__s32 clients[PAGE_PLACES];
};

/* How far the flood of a group frame is. */
struct flood_state {
	struct tally wire; /* of one copy */
	struct tally sent; /* of all copies */
	__u64 mac; /* it is sent to */
	__u64 words[PLACE_WORDS]; /* pages of the trunk */
	__u64 pages;  /* of the word, those to come */
	__u64 places; /* of the page, those to come */
	__u32 worker; /* number */
	__u32 trunks; /* numbers in use are below */
	__u32 next_trunk;
	__u32 trunk;   /* number */
	__u32 ifindex; /* of the trunk */
	__u32 next_word;
	__u32 word;
	__u32 page;
	__u32 located; /* a client has a location on an attached trunk */
	__u32 longest; /* see measure_segments */
	__u32 refused; /* what trunk_refuses says */
	__u32 reserved;
};

/* How many devices there can be: a number names one for as long as it is known. */
#define MAX_TRUNKS 256

/* Written by user space while the programs run. A limit is how many octets a frame may have,
 * its Ethernet header included and its outermost tag not.
 */
struct policies {
	__u32 worker_limit; /* the least of the workers that are up */
	__u32 trunk_limit;  /* the least of the trunks; 0 if one is down */
	__u32 default_worker; /* where its frames go; 0 if there is none, or it is down */
	__u32 former_clients; /* how many slots there are in former_clients */
};

/* Written by user space while the programs run. */
struct settings {
	__u64 trunks; /* trunk numbers in use are below */
};

struct worker_state {
	__u64 clients; /* assigned to the worker */
};

enum attach_role {
	ROLE_TRUNK = 1,
	ROLE_WORKER = 2,
};

enum attach_mode {
	MODE_TCX = 1,
	MODE_CLSACT = 2,
};

#define DEVICE_NAME_LEN 16 /* IFNAMSIZ */

/* A trunk or a worker, by name. Not read by the programs. */
struct device {
	__u32 ifindex; /* 0 while it is not there */
	__u32 number;  /* of the device in its role */
	enum attach_role role;
	enum attach_mode mode;
	__u32 owns_qdisc; /* the clsact qdisc was made by us */
	__u32 flags;      /* DEVICE_ bits */
	struct tally flooded_base; /* added to worker_floods: counted by earlier maps */
};

#define DEVICE_FORCED 1         /* attached although it looks like an interface of the host's own */
#define DEVICE_DEFAULT_WORKER 2 /* gets frames of MACs without a worker */
#define DEVICE_NAMED_ONLY 4     /* no trunk any more: the places of clients name it */

/* Who runs the dataplane. Not read by the programs. */
struct owner {
	__u64 layout;     /* of these maps, see layoutVersion */
	__u64 generation; /* counts the processes that took over */
	__u64 releases;   /* counts the slots freed, for slot.released */
	__u64 seeds[2];   /* of the table of clients */
	__u64 netns;      /* cookie of the network namespace of the devices */
	__u64 options;    /* OPTION_ bits, and the limit of group frames: they are remembered */
	__u32 programs[4]; /* IDs: those of this process and of the one before it */
	__u64 events_lost_base; /* added to the sums of the counters: by earlier maps */
	__u64 places_lost_base;
	struct tally passed_base;
	struct tally drop_bases[MAX_DROP_REASONS];
	__u32 older_programs[12]; /* those of processes before, which were killed while they took over */
};

#define OPTION_PASS_UNTAGGED 1
#define OPTION_PASS_UNKNOWN 2
#define OPTION_UNKNOWN_WORKER 4
#define OPTION_MIGRATED 8  /* no option: the maps have all that earlier ones had */
#define OPTION_REDIRECT_PEER 16
#define OPTION_EARLY_DROP 32
#define OPTION_AGE_SHIFT 8 /* 20 bits: seconds */
#define OPTION_GROUP_LIMIT_SHIFT 32

#endif
