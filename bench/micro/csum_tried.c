/* SPDX-License-Identifier: Apache-2.0
 *
 * Time of the ways to sum in csum_tried.h, which must also be right: the table
 * of docs/decisions/checksum.md.  x86-64 only.
 */
#include <stdio.h>
#include <stdlib.h>

#include "csum_tried.h"
#include "timing.h"

enum { ROUNDS = 300, OFFSET = 2, LARGEST = 65160 };
static const size_t lengths[] = { 128, 256, 1448, 8948, LARGEST };
#define N_LENGTHS (sizeof(lengths) / sizeof(*lengths))

struct way {
	const char *name;
	uint32_t (*sum)(const uint8_t *p, size_t len);
	enum { SCALAR_CPU, AVX2, AVX512 } needs;
	double best[N_LENGTHS];
};

static struct way ways[] = {
	{ .name = "scalar halves", .sum = scalar_halves },
	{ .name = "scalar, carry at once", .sum = scalar_at_once },
	{ .name = "scalar, 128 bits", .sum = scalar_128 },
	{ .name = "scalar, carries apart (taken)", .sum = scalar_apart },
	{ .name = "sad", .sum = vector_sad, .needs = AVX2 },
	{ .name = "unpack", .sum = vector_unpack, .needs = AVX2 },
	{ .name = "mask and shift", .sum = vector_mask, .needs = AVX2 },
	{ .name = "madd", .sum = vector_madd, .needs = AVX2 },
	{ .name = "all and high", .sum = vector_all_high, .needs = AVX2 },
	{ .name = "all and high, load once", .sum = vector_load_once,
	  .needs = AVX2 },
	{ .name = "csum_add (taken)", .sum = taken },
	{ .name = "all and high, 512 bits", .sum = vector_512,
	  .needs = AVX512 },
};
#define N_WAYS (sizeof(ways) / sizeof(*ways))

static bool usable(const struct way *way)
{
	if (way->needs == SCALAR_CPU)
		return true;
	return way->needs == AVX512 ? __builtin_cpu_supports("avx512bw")
				    : __builtin_cpu_supports("avx2");
}

static double time_one(const struct way *way, const uint8_t *p, size_t len)
{
	size_t n = 300000 / len + 4;
	double start = now_ns();

	for (size_t i = 0; i < n; i++) {
		uint32_t acc = way->sum(p, len);

		KEEP(acc);
	}
	return (now_ns() - start) / (double)n;
}

/* A way that is wrong has no speed. */
static bool right(const struct way *way, const uint8_t *p)
{
	for (size_t len = 0; len < 3000; len++)
		if (csum_fold(way->sum(p, len)) !=
		    csum_fold(csum_add_any(0, p, len)))
			return false;
	return true;
}

int main(void)
{
	uint8_t *buffer = aligned_alloc(64, (LARGEST + OFFSET + 63) & ~63u);
	const uint8_t *p = buffer + OFFSET;

	if (!buffer)
		return 1;
	for (size_t i = 0; i < LARGEST + OFFSET; i++)
		buffer[i] = (uint8_t)(i * 2654435761u >> 13);
	csum_init();
	for (size_t r = 0; r < ROUNDS; r++) {
		for (size_t w = 0; w < N_WAYS; w++) {
			for (size_t l = 0; usable(&ways[w]) && l < N_LENGTHS;
			     l++) {
				double *best = &ways[w].best[l];
				double ns = time_one(&ways[w], p, lengths[l]);

				*best = r ? least(*best, ns) : ns;
			}
		}
	}
	printf("%-30s", "ns for bytes");
	for (size_t l = 0; l < N_LENGTHS; l++)
		printf("%8zu", lengths[l]);
	printf("\n");
	for (size_t w = 0; w < N_WAYS; w++) {
		printf("%-30s", ways[w].name);
		if (!usable(&ways[w])) {
			printf(" not on this CPU\n");
			continue;
		}
		if (!right(&ways[w], p)) {
			printf(" WRONG\n");
			return 1;
		}
		for (size_t l = 0; l < N_LENGTHS; l++)
			printf("%8.1f", ways[w].best[l]);
		printf("\n");
	}
	free(buffer);
	return 0;
}
