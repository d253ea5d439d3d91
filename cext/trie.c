/* SPDX-License-Identifier: Apache-2.0 */
#include "trie.h"

#include <errno.h>
#include <stdlib.h>

enum {
	ROOT_BITS = 16,
	CHILD_BITS = 8,
	/* 256 MiB of slots: 65,536 IPv4 leases of any lengths fit; a table
	 * of absurd IPv6 prefixes is refused instead of eating the node. */
	MAX_SLOTS = 1u << 26,
};

static struct key key_mask(unsigned len)
{
	return (struct key){
		len == 0 ? 0 : len >= 64 ? ~0ull : ~0ull << (64 - len),
		len <= 64 ? 0 : len >= 128 ? ~0ull : ~0ull << (128 - len),
	};
}

/* Number of leading bits that two keys share. */
static unsigned key_common(struct key a, struct key b)
{
	if (a.hi != b.hi)
		return __builtin_clzll(a.hi ^ b.hi);
	return a.lo != b.lo ? 64 + __builtin_clzll(a.lo ^ b.lo) : 128;
}

struct builder {
	struct trie *t;
	struct trie_entry *entries;
	uint32_t n;
	uint32_t n_nodes, cap_nodes;
	uint32_t n_slots, cap_slots;
	uint8_t addr_bits;
};

static int by_length_then_key(const void *va, const void *vb)
{
	const struct trie_entry *a = va, *b = vb;

	if (a->length != b->length)
		return a->length < b->length ? -1 : 1;
	if (a->key.hi != b->key.hi)
		return a->key.hi < b->key.hi ? -1 : 1;
	if (a->key.lo != b->key.lo)
		return a->key.lo < b->key.lo ? -1 : 1;
	return 0;
}

static int sort_entries(struct builder *b)
{
	for (uint32_t i = 0; i < b->n; i++) {
		const struct trie_entry *e = &b->entries[i];
		struct key mask = key_mask(e->length);

		if (e->length > b->addr_bits || e->key.hi & ~mask.hi ||
		    e->key.lo & ~mask.lo)
			return -EINVAL;
	}
	/* Shorter prefixes first: longer ones then overwrite them. */
	qsort(b->entries, b->n, sizeof(*b->entries), by_length_then_key);
	for (uint32_t i = 1; i < b->n; i++) {
		const struct trie_entry *e = &b->entries[i];

		if (by_length_then_key(e - 1, e) == 0)
			return -EEXIST;
	}
	return 0;
}

/* Makes *array hold at least n elements, doubling. */
static int reserve(void *array, uint32_t *cap, uint32_t n, size_t size)
{
	uint32_t want = *cap ? *cap : 1;
	void *grown;

	while (want < n)
		want *= 2;
	if (want == *cap)
		return 0;
	memcpy(&grown, array, sizeof(grown));
	grown = realloc(grown, want * size);
	if (!grown)
		return -ENOMEM;
	memcpy(array, &grown, sizeof(grown));
	*cap = want;
	return 0;
}

/* A node whose every slot holds `fill`; returns its index or -ENOMEM. */
static int add_node(struct builder *b, unsigned pos, unsigned bits,
		    uint32_t fill)
{
	struct trie *t = b->t;
	uint32_t n = 1u << bits;

	if (b->n_slots + n > MAX_SLOTS ||
	    reserve(&t->nodes, &b->cap_nodes, b->n_nodes + 1,
		    sizeof(*t->nodes)) ||
	    reserve(&t->slots, &b->cap_slots, b->n_slots + n,
		    sizeof(*t->slots)))
		return -ENOMEM;
	t->nodes[b->n_nodes] = (struct trie_node){ pos, bits, b->n_slots };
	for (uint32_t i = 0; i < n; i++)
		t->slots[b->n_slots + i] = fill;
	b->n_slots += n;
	return b->n_nodes++;
}

static int add_root(struct builder *b)
{
	unsigned pos = b->addr_bits - 1, longest = 0, bits;
	struct key first = b->n ? b->entries[0].key : (struct key){ 0, 0 };

	for (uint32_t i = 0; i < b->n; i++) {
		struct trie_entry *e = &b->entries[i];
		unsigned common = key_common(first, e->key);

		common = common < e->length ? common : e->length;
		pos = common < pos ? common : pos;
		longest = e->length > longest ? e->length : longest;
	}
	bits = longest > pos ? longest - pos : 1;
	b->t->root = first;
	b->t->root_mask = key_mask(pos);
	return add_node(b, pos, bits < ROOT_BITS ? bits : ROOT_BITS, 0);
}

static int insert(struct builder *b, const struct trie_entry *e)
{
	struct trie *t = b->t;
	uint32_t at = 0;

	for (;;) {
		struct trie_node node = t->nodes[at];
		unsigned end = node.pos + node.bits, bits = CHILD_BITS;
		uint32_t i = node.base + key_bits(e->key, node.pos, node.bits);
		int child;

		if (e->length <= end) {
			uint32_t n = 1u << (end - e->length);

			while (n--)
				t->slots[i + n] = e->value + 1;
			return 0;
		}
		if (t->slots[i] & TRIE_CHILD) {
			at = t->slots[i] & ~TRIE_CHILD;
			continue;
		}
		if (end + bits > b->addr_bits)
			bits = b->addr_bits - end;
		child = add_node(b, end, bits, t->slots[i]);
		if (child < 0)
			return child;
		t->slots[i] = TRIE_CHILD | child;
		at = child;
	}
}

int trie_build(struct trie *t, struct trie_entry *entries, uint32_t n,
	       unsigned addr_bits)
{
	struct builder b = {
		.t = t,
		.entries = entries,
		.n = n,
		.addr_bits = addr_bits,
	};
	int error;

	*t = (struct trie){ 0 };
	error = sort_entries(&b);
	if (!error && add_root(&b) < 0)
		error = -ENOMEM;
	for (uint32_t i = 0; !error && i < n; i++)
		error = insert(&b, &entries[i]);
	return error;
}

void trie_free(struct trie *t)
{
	free(t->nodes);
	free(t->slots);
}
