/* SPDX-License-Identifier: Apache-2.0 */
#include "steer.h"

enum {
	QUEUE_BITS = 8,
	QUEUE_MASK = (1 << QUEUE_BITS) - 1,
};

static uint32_t mix(uint32_t hash, uint32_t word)
{
	hash = (hash ^ word) * 0x9e3779b1;
	return hash ^ hash >> 15;
}

static uint32_t mix_address(uint32_t hash, const uint8_t *addr, uint8_t family)
{
	uint32_t word;

	for (unsigned i = 0; i < addr_len(family); i += sizeof(word)) {
		memcpy(&word, addr + i, sizeof(word));
		hash = mix(hash, word);
	}
	return hash;
}

/*
 * One for both directions of a flow: its lower end comes first.  (Exclusive-or
 * has no order either, but is the same for many flows of neighbours, and two
 * flows with one hash and two queues move each other.)
 */
static uint32_t symmetric_hash(const struct pkt *p)
{
	const uint8_t *low = pkt_src(p), *high = pkt_dst(p);
	int order = memcmp(low, high, addr_len(p->family));
	uint16_t ports[2] = { 0 };
	uint32_t hash = p->proto;
	bool turned;

	if (p->transport)
		memcpy(ports, p->ip + p->l4, sizeof(ports));
	turned = order > 0 || (order == 0 && ports[0] > ports[1]);
	hash = mix_address(hash, turned ? high : low, p->family);
	hash = mix_address(hash, turned ? low : high, p->family);
	return mix(hash, (uint32_t)ports[turned] << 16 | ports[!turned]);
}

/* The rest of the hash, never 0: that is an empty entry. */
static uint32_t tag_of(uint32_t hash)
{
	return (hash & ~QUEUE_MASK) | 1 << QUEUE_BITS;
}

void steer_learn(struct steering *s, const struct pkt *p, uint32_t queue)
{
	uint32_t hash = symmetric_hash(p), wanted = tag_of(hash) | queue;
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
	uint32_t hash = symmetric_hash(p);
	const _Atomic uint32_t *bucket = s->entry[hash % STEER_BUCKETS];

	for (unsigned i = 0; i < STEER_WAYS; i++) {
		uint32_t e = atomic_load_explicit(&bucket[i],
						  memory_order_relaxed);

		if ((e & ~QUEUE_MASK) == tag_of(hash))
			return e & QUEUE_MASK;
	}
	return own + (hash >> 16) % n;
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
