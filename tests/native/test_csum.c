/* SPDX-License-Identifier: Apache-2.0
 *
 * csum against RFC 1071 done byte by byte, in every flavour this CPU has.
 *
 * Buffers come from malloc at their exact length, so that ASan sees the first
 * byte beyond either end.
 */
#include "check.h"
#include "csum.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"

#define ALIGNMENTS 64
#define SHORT_MAX 2100
#define LONG_MAX_LEN 70000

/* The slow twin: big-endian words, the carry folded in after each. */
static uint16_t naive(const uint8_t *data, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++) {
		sum += i & 1 ? data[i] : data[i] << 8;
		if (sum > 0xffff)
			sum -= 0xffff;
	}
	return htons((uint16_t)sum);
}

static void random_data(uint8_t *data, size_t len)
{
	rnd_fill(data, len);
}

static void all_ones(uint8_t *data, size_t len)
{
	memset(data, 0xff, len);
}

/* Runs of words at the edge of a carry. */
static void carries(uint8_t *data, size_t len)
{
	static const uint8_t bytes[] = { 0xff, 0xff, 0xff, 0x00, 0x01, 0x80 };

	for (size_t i = 0; i < len; i++)
		data[i] = bytes[rnd_below(sizeof(bytes))];
}

typedef void (*filler)(uint8_t *data, size_t len);
static const filler fillers[] = { random_data, all_ones, carries };
#define N_FILLERS (sizeof(fillers) / sizeof(*fillers))

/* Runs body once for each flavour; says which is missing here. */
static void each_flavour(void (*body)(void))
{
	csum_force_portable(true);
	CHECK(!strcmp(vx_csum_flavour(), "portable"));
	body();
	csum_force_portable(false);
	if (!strcmp(vx_csum_flavour(), "portable"))
		printf("# this CPU has no other flavour\n");
	else
		body();
}

static void check_one(const uint8_t *data, size_t len)
{
	size_t align = rnd_below(ALIGNMENTS);
	uint8_t *copy = malloc(align + len + !len);
	uint32_t acc = csum_add_any(0, data, len);

	CHECK(copy);
	CHECK_EQ(csum_fold(acc), naive(data, len));
	CHECK(acc < 1 << 17);
	CHECK_EQ(csum_copy(0, copy + align, data, len), acc);
	CHECK_MEM(copy + align, data, len);
	free(copy);
}

/* len bytes at align modulo 64, with nothing legible behind them. */
static void check_aligned(filler fill, size_t align, size_t len)
{
	uint8_t *block;

	check_context("%s, alignment %zu, length %zu", vx_csum_flavour(),
		      align, len);
	CHECK(!posix_memalign((void **)&block, ALIGNMENTS, align + len + !len));
	fill(block + align, len);
	check_one(block + align, len);
	free(block);
}

static void short_lengths(void)
{
	for (size_t len = 0; len <= SHORT_MAX; len++)
		for (size_t align = 0; align < ALIGNMENTS; align++)
			check_aligned(fillers[(len + align) % N_FILLERS],
				      align, len);
}

TEST(every_length_at_every_alignment)
{
	each_flavour(short_lengths);
}

static void long_lengths(void)
{
	static const size_t lengths[] = { 65494, 65507, 65534, 65535, 65536,
					  65537, LONG_MAX_LEN };

	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++)
		for (size_t f = 0; f < N_FILLERS; f++)
			check_aligned(fillers[f], rnd_below(ALIGNMENTS),
				      lengths[i]);
	for (int i = 0; i < 500; i++)
		check_aligned(fillers[rnd_below(N_FILLERS)],
			      rnd_below(ALIGNMENTS),
			      rnd_range(SHORT_MAX, LONG_MAX_LEN));
}

TEST(long_lengths_at_random_alignments)
{
	each_flavour(long_lengths);
}

/* Far beyond a packet: no internal sum may overflow unnoticed. */
static void huge(void)
{
	size_t len = (size_t)32 << 20;
	uint8_t *data = malloc(len);

	CHECK(data);
	check_context("%s, %zu bytes of ones", vx_csum_flavour(), len);
	memset(data, 0xff, len);
	check_one(data, len);
	carries(data, len);
	check_one(data, len);
	free(data);
}

TEST(huge_lengths)
{
	each_flavour(huge);
}

static void check_edge_copy(const uint8_t *data, size_t len, bool before)
{
	uint8_t *copy = edge_new(len, before);

	CHECK_EQ(csum_fold(csum_copy(0, copy, data, len)), naive(data, len));
	CHECK_MEM(copy, data, len);
	edge_free(copy, len, before);
}

/* Pages that fault, in both directions: holds without ASan too. */
static void edges(void)
{
	for (int i = 0; i < 2000; i++) {
		size_t len = i < 400 ? (size_t)i : rnd_range(400, 9000);
		bool before = i & 1;
		uint8_t *data = edge_new(len, before);

		check_context("%s, length %zu, wall %s", vx_csum_flavour(),
			      len, before ? "before" : "behind");
		rnd_fill(data, len);
		check_one(data, len);
		check_edge_copy(data, len, before);
		edge_free(data, len, before);
	}
}

TEST(no_byte_outside_is_touched)
{
	each_flavour(edges);
}

/* Any cut into pieces of even length gives the sum of the whole. */
static void chain_random(void)
{
	uint8_t *data = malloc(LONG_MAX_LEN);

	CHECK(data);
	for (int i = 0; i < 3000; i++) {
		size_t len = rnd_below(i & 1 ? 300 : LONG_MAX_LEN), at = 0;
		uint32_t acc = 0;

		fillers[rnd_below(N_FILLERS)](data, len);
		check_context("%s, %zu bytes, piece at 0", vx_csum_flavour(),
			      len);
		while (len - at > 1 && rnd_chance(90)) {
			size_t n = rnd_range(0, (len - at) / 2) * 2;

			acc = csum_add_any(acc, data + at, n);
			CHECK(acc < 1 << 17);
			at += n;
			check_context("%s, %zu bytes, piece at %zu",
				      vx_csum_flavour(), len, at);
		}
		acc = csum_add_any(acc, data + at, len - at);
		CHECK_EQ(csum_fold(acc), naive(data, len));
	}
	free(data);
}

TEST(chained_pieces)
{
	each_flavour(chain_random);
}

/* Any accumulator is accepted, the largest too. */
static void accumulators(void)
{
	uint8_t data[100], copy[100];

	for (int i = 0; i < 100000; i++) {
		uint32_t acc = i ? (uint32_t)rnd() : UINT32_MAX;
		size_t len = rnd_below(sizeof(data) + 1);
		uint64_t want;

		fillers[i % N_FILLERS](data, len);
		want = (uint64_t)acc + naive(data, len);
		check_context("%s, acc %#x, length %zu", vx_csum_flavour(),
			      acc, len);
		/* Both folds are of 1 .. 0xffff, or 0 for 0 alone. */
		want = want ? (want - 1) % 0xffff + 1 : 0;
		CHECK_EQ(csum_fold(csum_add_any(acc, data, len)), want);
		CHECK_EQ(csum_fold(csum_copy(acc, copy, data, len)), want);
	}
}

TEST(any_accumulator)
{
	each_flavour(accumulators);
}

/* One function for each constant length: those up to 60 go inline. */
#define FOREACH_TEN(f, tens)                                                \
	f(tens##0) f(tens##1) f(tens##2) f(tens##3) f(tens##4)              \
	f(tens##5) f(tens##6) f(tens##7) f(tens##8) f(tens##9)
#define FOREACH_LENGTH(f)                                                   \
	FOREACH_TEN(f, ) FOREACH_TEN(f, 1) FOREACH_TEN(f, 2)                \
	FOREACH_TEN(f, 3) FOREACH_TEN(f, 4) FOREACH_TEN(f, 5)               \
	FOREACH_TEN(f, 6)

#define DEFINE(len)                                                         \
	static uint32_t add_##len(uint32_t acc, const uint8_t *data)        \
	{                                                                   \
		return csum_add(acc, data, len);                            \
	}
FOREACH_LENGTH(DEFINE)
#undef DEFINE

static uint32_t (*const add_constant[])(uint32_t, const uint8_t *) = {
#define ENTRY(len) add_##len,
	FOREACH_LENGTH(ENTRY)
#undef ENTRY
};
#define N_CONSTANTS (sizeof(add_constant) / sizeof(*add_constant))

static_assert(N_CONSTANTS > CSUM_INLINE_MAX + 1, "both ways are taken");

/* len bytes at align, exactly, through the constant and the general way. */
static void check_constant(filler fill, size_t align, size_t len)
{
	uint8_t *block = malloc(align + len + !len), *data = block + align;
	uint32_t acc = (uint32_t)rnd(), sum;

	check_context("constant length %zu, alignment %zu", len, align);
	CHECK(block);
	fill(data, len);
	CHECK_EQ(csum_fold(add_constant[len](0, data)), naive(data, len));
	sum = add_constant[len](acc, data);
	CHECK_EQ(csum_fold(sum), csum_fold(csum_add_any(acc, data, len)));
	CHECK(sum < 1 << 17);
	free(block);
}

TEST(constant_lengths)
{
	for (int round = 0; round < 20; round++)
		for (size_t len = 0; len < N_CONSTANTS; len++)
			for (size_t align = 0; align < 8; align++)
				check_constant(fillers[rnd_below(N_FILLERS)],
					       align, len);
}
