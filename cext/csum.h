/* SPDX-License-Identifier: Apache-2.0
 *
 * The Internet checksum (RFC 1071): ones'-complement sums of 16-bit words.
 *
 * Words are summed in native byte order.  The sum does not care (RFC 1071,
 * 2 (B)): swapping the bytes of every word swaps the bytes of the result, so
 * what csum_fold() gives is stored into a header as it is, without htons().
 * A number that is not in memory yet (a length, a protocol in a
 * pseudo-header) enters the sum as htons(number).
 *
 * A sum of anything but zero bytes never folds to 0 but to 0xffff.  Hence:
 * - a packet is intact when all of it, checksum included, has
 *   csum_finish() == 0;
 * - UDP's rule to send a computed 0 as 0xffff is the caller's.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* csum.c */

/*
 * Chooses the fastest flavour this CPU and kernel have.  Call it before
 * threads start; sums are right, if slower, when nobody does.
 */
void csum_init(void);

/* For tests: true takes AVX2 away, false is csum_init(). */
void csum_force_portable(bool force);

/* What csum_add() calls when the length is not a small constant. */
uint32_t csum_add_any(uint32_t acc, const void *data, size_t len);

/* csum_add_any(acc, from, len), and a copy of the bytes at `to`, which they do
 * not overlap: a pass saved, for what is read anyway. */
uint32_t csum_copy(uint32_t acc, void *to, const void *from, size_t len);

/* Where vectors begin to pay, see docs/decisions/checksum.md. */
#define CSUM_AVX2_MIN 64

/* csum_avx2.c, called by csum.c only; len >= CSUM_AVX2_MIN, at least 32. */
uint32_t csum_add_avx2(uint32_t acc, const void *data, size_t len);
uint32_t csum_copy_avx2(uint32_t acc, void *to, const void *from, size_t len);

/* The longest IPv4 header (RFC 791); constant lengths to here go inline. */
#define CSUM_INLINE_MAX 60

static inline uint16_t csum_load16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint32_t csum_load32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/*
 * 64 bits to less than 2^17 with the same value modulo 2^16 - 1, and zero
 * only for zero.  A number plus itself with its halves swapped has their
 * end-around sum in the upper half.
 */
static inline uint32_t csum_reduce(uint64_t sum)
{
	uint32_t acc = (uint32_t)((sum + (sum << 32 | sum >> 32)) >> 32);

	return (acc & 0xffff) + (acc >> 16);
}

/* The last len < 16 bytes; an odd one is padded with zero (RFC 1071, 1). */
static inline uint64_t csum_tail(const uint8_t *p, size_t len)
{
	uint64_t sum = 0;

	if (len & 8) {
		sum += (uint64_t)csum_load32(p) + csum_load32(p + 4);
		p += 8;
	}
	if (len & 4) {
		sum += csum_load32(p);
		p += 4;
	}
	if (len & 2) {
		sum += csum_load16(p);
		p += 2;
	}
	if (len & 1) {
		const uint8_t padded[2] = { *p, 0 };

		sum += csum_load16(padded);
	}
	return sum;
}

static inline uint64_t csum_16(const uint8_t *p)
{
	return (uint64_t)csum_load32(p) + csum_load32(p + 4) +
	       csum_load32(p + 8) + csum_load32(p + 12);
}

/*
 * Adds len bytes at any alignment to acc, which is 0 or an earlier result,
 * possibly with up to 2^15 16-bit words added to it by plain +.  The result is
 * less than 2^17.  Pieces may be chained if all but the last are even in
 * length.
 */
static inline uint32_t csum_add(uint32_t acc, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t sum = acc;

	if (!__builtin_constant_p(len) || len > CSUM_INLINE_MAX)
		return csum_add_any(acc, data, len);
	/* A ladder, not a loop: gcc does not unroll loops at -O2. */
	if (len & 32) {
		sum += csum_16(p) + csum_16(p + 16);
		p += 32;
	}
	if (len & 16) {
		sum += csum_16(p);
		p += 16;
	}
	return csum_reduce(sum + csum_tail(p, len & 15));
}

static inline uint32_t csum_sum(const void *data, size_t len)
{
	return csum_add(0, data, len);
}

/* The 16-bit sum, in memory order, not complemented. */
static inline uint16_t csum_fold(uint32_t acc)
{
	acc = (acc & 0xffff) + (acc >> 16);
	return (uint16_t)(acc + (acc >> 16));
}

/* The checksum, in memory order: what goes into the header. */
static inline uint16_t csum_finish(uint32_t acc)
{
	return (uint16_t)~csum_fold(acc);
}
