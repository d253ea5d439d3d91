/* SPDX-License-Identifier: Apache-2.0
 *
 * What one worker has carried to and from each peer.  The worker alone adds;
 * anyone may read.
 *
 * Theory of operation.  A peer's place is its slot, a small number that the
 * control thread gave it and that goes with it from table to table: counters
 * outlive a commit, whatever index the peer has in it.  Nobody sets a counter
 * back, for that would race with its worker: who gets a slot that had another
 * owner takes what stands there as zero.  Each worker has an array of its own,
 * a cache line a slot, so nothing is shared.  The array is address space:
 * memory comes with the first packet of a slot, and slots are given from the
 * lowest.
 */
#pragma once
#include "api.h"
#include "counters.h"

struct peer_counters {
	_Alignas(64) _Atomic uint64_t out_packets;
	_Atomic uint64_t out_bytes, in_packets, in_bytes;
	_Atomic uint64_t heard;	/* ms, a monotonic clock; 0: never */
	/* ms: until then its path is asked for no UDP_SEGMENT, which it has
	 * refused.  The worker's alone; a slot's next owner waits with it. */
	uint64_t refused_until;
};

/* An array of VX_PEER_SLOTS, all zero; NULL without memory. */
struct peer_counters *peers_new(void);
void peers_free(struct peer_counters *peers);

/* Adds one worker's part of slots[i] to out[i]. */
void peers_add(const struct peer_counters *peers, const uint32_t *slots,
	       uint32_t n, struct vx_peer_traffic *out);

static inline void peer_sent(struct peer_counters *peer, uint32_t packets,
			     uint64_t bytes)
{
	add_to(&peer->out_packets, packets);
	add_to(&peer->out_bytes, bytes);
}

static inline void peer_heard(struct peer_counters *peer, uint32_t packets,
			      uint64_t bytes, uint64_t now)
{
	add_to(&peer->in_packets, packets);
	add_to(&peer->in_bytes, bytes);
	atomic_store_explicit(&peer->heard, now, memory_order_relaxed);
}
