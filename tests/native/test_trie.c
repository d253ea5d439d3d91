/* SPDX-License-Identifier: Apache-2.0
 *
 * trie's parts below what test_table.c asks of the whole: keys, bits, and
 * values at their limits.
 */
#include "check.h"
#include "trie.h"

#include <errno.h>
#include <stdlib.h>

#include "lpm_twin.h"

static struct key random_key(uint8_t family, uint8_t *addr)
{
	rnd_fill(addr, 16);
	return key_of(addr, family);
}

TEST(bits_of_a_key)
{
	uint8_t addr[16];

	for (unsigned i = 0; i < 20000; i++) {
		struct key k = random_key(6, addr);
		unsigned n = (unsigned)rnd_range(1, 16), want = 0;
		unsigned pos = (unsigned)rnd_below(128 - n + 1);

		for (unsigned b = pos; b < pos + n; b++)
			want = want << 1 | lpm_bit(addr, b);
		check_context("%u bits from bit %u", n, pos);
		CHECK_EQ(key_bits(k, pos, n), want);
	}
}

TEST(ipv4_keys_are_left_aligned)
{
	static const uint8_t addr[4] = { 10, 244, 1, 2 };
	struct key k = key_of(addr, 4);

	CHECK(k.hi == 0x0af40102ull << 32);
	CHECK(k.lo == 0);
}

/* The order in which entries come does not matter. */
TEST(order_of_entries)
{
	enum { N = 33 };
	struct trie_entry entries[N];
	uint8_t addr[16];

	for (unsigned round = 0; round < 50; round++) {
		struct key k = random_key(4, addr);
		struct trie t;

		/* One address's prefixes of all lengths. */
		for (unsigned i = 0; i < N; i++) {
			uint64_t mask = i ? ~0ull << (64 - i) : 0;

			entries[i].key = (struct key){ k.hi & mask, 0 };
			entries[i].length = (uint8_t)i;
			entries[i].value = i;
		}
		for (unsigned i = N; i > 1; i--) {
			unsigned j = (unsigned)rnd_below(i);
			struct trie_entry e = entries[j];

			entries[j] = entries[i - 1];
			entries[i - 1] = e;
		}
		CHECK_EQ(trie_build(&t, entries, N, 32), 0);
		CHECK_EQ(trie_lookup(&t, k), 32 + 1);
		for (unsigned i = 0; i < 32; i++) {
			struct key other = k;

			other.hi ^= 1ull << (63 - i);
			CHECK_EQ(trie_lookup(&t, other), i + 1);
		}
		trie_free(&t);
	}
}

TEST(largest_value)
{
	struct trie_entry e = { { 0, 0 }, INT32_MAX - 1, 0 };
	struct trie t;

	CHECK_EQ(trie_build(&t, &e, 1, 128), 0);
	CHECK_EQ(trie_lookup(&t, (struct key){ ~0ull, ~0ull }), INT32_MAX);
	trie_free(&t);
}

/* Prefixes that would need absurd memory are an error, not a crash. */
TEST(absurd_prefixes)
{
	const uint32_t n = 40000;
	struct trie_entry *entries = calloc(n, sizeof(*entries));
	uint8_t addr[16];
	struct trie t;

	CHECK(entries);
	for (uint32_t i = 0; i < n; i++) {
		entries[i].key = random_key(6, addr);
		entries[i].length = 128;
		entries[i].value = i;
	}
	CHECK_EQ(trie_build(&t, entries, n, 128), -ENOMEM);
	trie_free(&t);
	free(entries);
}

TEST(errors_leave_something_to_free)
{
	struct trie_entry twice[2] = { { { 0, 0 }, 1, 8 }, { { 0, 0 }, 2, 8 } };
	struct trie_entry host_bits = { { 1ull << 40, 0 }, 1, 8 };
	struct trie_entry too_long = { { 0, 0 }, 1, 33 };
	struct trie t;

	CHECK_EQ(trie_build(&t, twice, 2, 32), -EEXIST);
	trie_free(&t);
	CHECK_EQ(trie_build(&t, &host_bits, 1, 32), -EINVAL);
	trie_free(&t);
	CHECK_EQ(trie_build(&t, &too_long, 1, 32), -EINVAL);
	trie_free(&t);
}
