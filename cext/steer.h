/* SPDX-License-Identifier: Apache-2.0
 *
 * Which TUN queue a flow has, so that it keeps it.
 *
 * The kernel gives a flow's outbound packets to a queue by its hash, until a
 * packet of the other direction is written: from then on to the queue through
 * which that came (drivers/net/tun.c, tun_flow_update).  Were replies written
 * by whichever worker received them, a flow would change its queue with the
 * first reply, and what waits in the old queue would be overtaken.  So a reply
 * is written through the queue that the flow's packets were read from; any
 * thread may write to any queue.
 *
 * Shared by the workers without a lock: an entry is one word, and a lost one
 * costs no more than what the kernel does by itself.
 */
#pragma once
#include <stdatomic.h>

#include "pkt.h"

enum {
	STEER_BUCKETS = 4096,
	STEER_WAYS = 4,
};

struct steering {
	_Atomic uint32_t entry[STEER_BUCKETS][STEER_WAYS];
};

/* A packet of p's flow was read from this queue. */
void steer_learn(struct steering *s, const struct pkt *p, uint32_t queue);

/* The queue to write p to: its flow's; for one never read one of n from `own`
 * on, by the flow. */
uint32_t steer_queue(const struct steering *s, const struct pkt *p,
		     uint32_t own, uint32_t n);

/* All entries, for a plane on the same queues; and back, as far as they name
 * one of `queues`. */
void steer_save(const struct steering *s, uint32_t *out);
void steer_restore(struct steering *s, const uint32_t *in, uint32_t queues);
