/* SPDX-License-Identifier: Apache-2.0
 *
 * Counters of one worker.  The worker alone adds; anyone may read.
 *
 * Units are packets as they are on the wire: a 64 KiB read of 45 segments
 * counts 45.  So, per direction, when the workers are at rest:
 *
 *   out_packets = out_sent    + sum of all out drops
 *   in_packets  = in_written  + sum of all in drops
 */
#pragma once
#include <stdatomic.h>
#include <stdint.h>

#define TRAFFIC_COUNTERS(X)						\
	X(OUT_READS, "out_reads", "reads from the TUN")			\
	X(OUT_PACKETS, "out_packets", "packets from the TUN")		\
	X(OUT_BYTES, "out_bytes", "inner bytes sent to the underlay")	\
	X(OUT_SENDS, "out_sends", "datagram batches given to the kernel")\
	X(OUT_SENT, "out_sent", "packets sent to the underlay")		\
	X(OUT_GSO_REFUSED, "out_gso_refused",				\
	  "batches that were sent again without UDP_SEGMENT")		\
	X(OUT_UNCUT, "out_uncut",					\
	  "super-packets sent whole, for the kernel to cut")		\
	X(OUT_UNCUT_REFUSED, "out_uncut_refused",			\
	  "super-packets that the kernel did not take whole")		\
	X(ICMP_SENT, "icmp_sent", "net unreachable sent to local senders")\
	X(IN_RECEIVES, "in_receives", "messages from the underlay")	\
	X(IN_PACKETS, "in_packets", "datagrams from the underlay")	\
	X(IN_BYTES, "in_bytes", "inner bytes written to the TUN")	\
	X(IN_WRITES, "in_writes", "writes to the TUN")			\
	X(IN_WRITTEN, "in_written", "packets written to the TUN")

enum counter {
#define X(id, name, text) COUNT_##id,
	TRAFFIC_COUNTERS(X)
#undef X
#define DROP(direction, id, name, text) DROP_##id,
#include "drops.def"
#undef DROP
	N_COUNTERS,
	/* What a check returns when nothing is wrong: no counter at all. */
	NO_DROP = N_COUNTERS,
};

struct counters {
	_Atomic uint64_t v[N_COUNTERS];
};

/* Load and store, no locked add: there is one writer. */
static inline void add_to(_Atomic uint64_t *v, uint64_t n)
{
	uint64_t old = atomic_load_explicit(v, memory_order_relaxed);

	atomic_store_explicit(v, old + n, memory_order_relaxed);
}

static inline void count(struct counters *c, enum counter i, uint64_t n)
{
	add_to(&c->v[i], n);
}
