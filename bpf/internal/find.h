/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef VLANDEMUX_FIND_H
#define VLANDEMUX_FIND_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* A hash map gives a key another value by putting a new element at the head of
 * its chain and then taking the old one out. A lookup that was past the head
 * before the one, and comes to the old element's place after the other, finds
 * neither; a second lookup finds the new one. User space waits for all running
 * programs after each replacement, so that the next cannot meet the second.
 */
static __always_inline void *find(void *map, const void *key)
{
	void *value = bpf_map_lookup_elem(map, key);

	return value ? value : bpf_map_lookup_elem(map, key);
}

#endif
