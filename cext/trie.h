/* SPDX-License-Identifier: Apache-2.0
 *
 * Longest prefix match from address to a number, built once, then read only.
 *
 * All prefixes of a cluster share their first bits (the cluster network) and
 * most have one length.  So the root skips the shared bits and is indexed by
 * up to 16 bits that follow: a lookup is one compare and one load, at 3 leases
 * as at 65,536.  Prefixes that end deeper hang below in nodes of 8 bits.
 */
#pragma once
#include <endian.h>
#include <stdint.h>

#include "wire.h"

/* An address as a left-aligned 128-bit number. */
struct key {
	uint64_t hi, lo;
};

struct trie_entry {
	struct key key;		/* bits beyond length are zero */
	uint32_t value;		/* below 2^31 - 1 */
	uint8_t length;		/* of the prefix, bits */
};

struct trie_node {
	uint8_t pos;		/* first bit that indexes the slots */
	uint8_t bits;
	uint32_t base;		/* its first slot */
};

struct trie {
	struct key root;		/* the bits that all prefixes share */
	struct key root_mask;
	struct trie_node *nodes;	/* [0] is the root */
	uint32_t *slots;	/* TRIE_MISS, TRIE_CHILD | node, value + 1 */
};

enum { TRIE_CHILD = (int)0x80000000, TRIE_MISS = 0 };

/*
 * Sorts the entries in place.  addr_bits: 32 or 128.  0, -EINVAL (an entry
 * has bits beyond its length), -EEXIST (one prefix twice), -ENOMEM; after an
 * error trie_free() is due as well.
 */
int trie_build(struct trie *t, struct trie_entry *entries, uint32_t n,
	       unsigned addr_bits);
void trie_free(struct trie *t);

static inline struct key key_of(const uint8_t *addr, uint8_t family)
{
	uint64_t word[2];
	be32 word4;

	if (family == IPV6) {
		memcpy(word, addr, sizeof(word));
		return (struct key){ be64toh(word[0]), be64toh(word[1]) };
	}
	memcpy(&word4, addr, sizeof(word4));
	return (struct key){ (uint64_t)ntohl(word4) << 32, 0 };
}

/* `bits` (1..16) bits of the key from bit `pos` on, the highest being 0. */
static inline uint32_t key_bits(struct key k, unsigned pos, unsigned bits)
{
	uint32_t mask = (1u << bits) - 1;
	unsigned end = pos + bits;

	if (end <= 64)
		return k.hi >> (64 - end) & mask;
	if (pos >= 64)
		return k.lo >> (128 - end) & mask;
	return (k.hi << (end - 64) | k.lo >> (128 - end)) & mask;
}

/* The value of the longest prefix that holds k, plus 1; or TRIE_MISS. */
static inline uint32_t trie_lookup(const struct trie *t, struct key k)
{
	const struct trie_node *node = t->nodes;
	uint32_t slot;

	if ((k.hi ^ t->root.hi) & t->root_mask.hi ||
	    (k.lo ^ t->root.lo) & t->root_mask.lo)
		return TRIE_MISS;
	slot = t->slots[key_bits(k, node->pos, node->bits)];
	while (slot & TRIE_CHILD) {
		node = &t->nodes[slot & ~TRIE_CHILD];
		slot = t->slots[node->base +
				key_bits(k, node->pos, node->bits)];
	}
	return slot;
}
