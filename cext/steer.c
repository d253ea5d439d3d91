/* SPDX-License-Identifier: Apache-2.0 */
#include "steer.h"

enum {
	QUEUE_BITS = 8,
	QUEUE_MASK = (1 << QUEUE_BITS) - 1,
};

/* The rest of the hash, never 0: that is an empty entry. */
static uint32_t tag_of(uint32_t hash)
{
	return (hash & ~QUEUE_MASK) | 1 << QUEUE_BITS;
}

void steer_learn(struct steering *s, const struct pkt *p, uint32_t queue)
{
	uint32_t hash = p->flow, wanted = tag_of(hash) | queue;
	_Atomic uint32_t *bucket = s->entry[hash % STEER_BUCKETS];
	unsigned way = (hash >> 16) % STEER_WAYS;

	for (unsigned i = 0; i < STEER_WAYS; i++) {
		uint32_t e = atomic_load_explicit(&bucket[i],
						  memory_order_relaxed);

		if (e == wanted)
			return;
		if (e == 0 || (e & ~QUEUE_MASK) == tag_of(hash)) {
			way = i;
			break;
		}
	}
	atomic_store_explicit(&bucket[way], wanted, memory_order_relaxed);
}

uint32_t steer_queue(const struct steering *s, const struct pkt *p,
		     uint32_t own, uint32_t n)
{
	uint32_t hash = p->flow;
	const _Atomic uint32_t *bucket = s->entry[hash % STEER_BUCKETS];

	for (unsigned i = 0; i < STEER_WAYS; i++) {
		uint32_t e = atomic_load_explicit(&bucket[i],
						  memory_order_relaxed);

		if ((e & ~QUEUE_MASK) == tag_of(hash))
			return e & QUEUE_MASK;
		if (e == 0)
			break;	/* steer_learn() fills them in this order */
	}
	/* Not by the bits that its peer chose the source port by. */
	return own + ((hash & 0xffff) * n >> 16);
}

void steer_save(const struct steering *s, uint32_t *out)
{
	const _Atomic uint32_t *entry = &s->entry[0][0];

	for (unsigned i = 0; i < STEER_BUCKETS * STEER_WAYS; i++)
		out[i] = atomic_load_explicit(&entry[i], memory_order_relaxed);
}

void steer_restore(struct steering *s, const uint32_t *in, uint32_t queues)
{
	_Atomic uint32_t *entry = &s->entry[0][0];

	for (unsigned i = 0; i < STEER_BUCKETS * STEER_WAYS; i++)
		if ((in[i] & QUEUE_MASK) < queues)
			atomic_store_explicit(&entry[i], in[i],
					      memory_order_relaxed);
}
