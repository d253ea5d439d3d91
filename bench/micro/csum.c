/* SPDX-License-Identifier: Apache-2.0
 *
 * Time of csum_add() by length: in one buffer that stays in the first-level
 * cache, and over packets that lie in the second (a receive ring is larger
 * than the first).
 *
 * Data starts 2 bytes off a vector's boundary, as it may in a packet.  Both
 * flavours take turns; where they show the same (below CSUM_AVX2_MIN bytes) it
 * is the same code.
 */
#include "csum.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "api.h"
#include "timing.h"

enum {
	OFFSET = 2,
	RING = 512 * 1024,	/* beyond any L1, within most L2 */
	ROUNDS = 300,
	ROUND_BYTES = 400000,
};

struct row {
	size_t len;
	bool ring;
	double best[2];		/* ns: portable, chosen */
};

static struct row rows[] = {
	{ .len = 20 },
	{ .len = 64 },
	{ .len = 128 },
	{ .len = 256 },
	{ .len = 1400 },
	{ .len = 1448 },
	{ .len = 1448, .ring = true },
	{ .len = 8948 },
	{ .len = 65160 },
	{ .len = 65160, .ring = true },
};

static double time_one(const uint8_t *buffer, const struct row *row)
{
	size_t stride = row->ring ? (row->len + 255) & ~(size_t)127 : 0;
	size_t n = ROUND_BYTES / (row->len + 100) + 8, at = 0;
	uint32_t acc = 0;
	double start;

	if (row->ring)
		n = (RING - OFFSET) / stride;
	start = now_ns();
	for (size_t i = 0; i < n; i++, at += stride)
		acc = csum_add(acc, buffer + OFFSET + at, row->len);
	KEEP(acc);
	return (now_ns() - start) / (double)n;
}

/* What a header costs inline: the length is a constant. */
static double time_header(const uint8_t *buffer)
{
	double best = 1e9;

	for (int round = 0; round < ROUNDS; round++) {
		uint32_t acc = 0;
		double start = now_ns();

		for (int i = 0; i < 2000; i++) {
			const uint8_t *p = buffer + OFFSET;

			KEEP(p);
			acc = csum_add(acc, p, 20);
		}
		KEEP(acc);
		best = least(best, (now_ns() - start) / 2000);
	}
	return best;
}

int main(void)
{
	size_t n_rows = sizeof(rows) / sizeof(*rows);
	uint8_t *buffer = aligned_alloc(4096, RING);

	if (!buffer)
		return 1;
	for (size_t i = 0; i < RING; i++)
		buffer[i] = (uint8_t)(i * 2654435761u >> 13);
	for (size_t r = 0; r < n_rows; r++)
		rows[r].best[0] = rows[r].best[1] = 1e9;
	for (int round = 0; round < ROUNDS; round++) {
		for (size_t r = 0; r < n_rows; r++) {
			for (int flavour = 0; flavour < 2; flavour++) {
				double *best = &rows[r].best[flavour];

				csum_force_portable(flavour == 0);
				*best = least(*best,
					      time_one(buffer, &rows[r]));
			}
		}
	}
	printf("%6s %5s %10s          %10s\n", "bytes", "cache", "portable",
	       vx_csum_flavour());
	for (size_t r = 0; r < n_rows; r++) {
		struct row *row = &rows[r];

		printf("%6zu %5s %7.1f ns %5.1f B/ns %7.1f ns %5.1f B/ns\n",
		       row->len, row->ring ? "L2" : "L1", row->best[0],
		       (double)row->len / row->best[0], row->best[1],
		       (double)row->len / row->best[1]);
	}
	printf("a constant 20, inline: %.1f ns\n", time_header(buffer));
	free(buffer);
	return 0;
}
