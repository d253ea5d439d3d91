/* SPDX-License-Identifier: Apache-2.0
 *
 * The checksum by 256-bit vectors.
 *
 * Theory of operation: a vector is four 64-bit numbers, each v = high * 2^32
 * + low.  Modulo 2^16 - 1 it counts as high + low, and so does any sum of
 * such numbers.  Summing low and high apart takes four operations a vector
 * (mask, shift, two additions).  Instead two sums are kept:
 *
 *	all  = sum of v, modulo 2^64
 *	high = sum of v >> 32, exact
 *
 * and the missing one follows at the end: sum of low = all - high * 2^32,
 * exact too, for it is below 2^64 and so the modulus took nothing from it.
 * That is three operations (addition, shift, addition), and no length is too
 * long for it: either sum holds 2^32 vectors.
 *
 * docs/decisions/checksum.md has the figures of this and of other ways.
 */
#include "csum.h"

#ifdef __x86_64__
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))
#define INLINE __attribute__((target("avx2"), always_inline)) static inline

struct sums {
	__m256i all, high;
};

INLINE __m256i load(const uint8_t *p)
{
	__m256i v = _mm256_loadu_si256((const void *)p);

	/*
	 * Forgets that v came from memory.  gcc 12 would rather read it twice,
	 * as an operand of the addition and again for the shift, and then
	 * loads are the bottleneck: half as slow again.
	 */
	__asm__("" : "+x"(v));
	return v;
}

INLINE struct sums add(struct sums s, __m256i v)
{
	s.all = _mm256_add_epi64(s.all, v);
	s.high = _mm256_add_epi64(s.high, _mm256_srli_epi64(v, 32));
	return s;
}

INLINE struct sums join(struct sums a, struct sums b)
{
	a.all = _mm256_add_epi64(a.all, b.all);
	a.high = _mm256_add_epi64(a.high, b.high);
	return a;
}

INLINE uint64_t finish(struct sums s)
{
	__m256i low = _mm256_sub_epi64(s.all, _mm256_slli_epi64(s.high, 32));
	__m256i sum = _mm256_add_epi64(low, s.high);
	__m128i half = _mm_add_epi64(_mm256_castsi256_si128(sum),
				     _mm256_extracti128_si256(sum, 1));

	return (uint64_t)_mm_cvtsi128_si64(half) +
	       (uint64_t)_mm_extract_epi64(half, 1);
}

/* keep_last + n: a mask that keeps the last n of 32 bytes. */
static const uint8_t keep_last[64] = {
	[32] = 255, 255, 255, 255, 255, 255, 255, 255,
	255, 255, 255, 255, 255, 255, 255, 255,
	255, 255, 255, 255, 255, 255, 255, 255,
	255, 255, 255, 255, 255, 255, 255, 255,
};

/* The 32 bytes at `from`, if `copy` to `to` as well. */
INLINE __m256i take(const uint8_t *from, uint8_t *to, ptrdiff_t at, bool copy)
{
	__m256i v = load(from + at);

	if (copy)
		_mm256_storeu_si256((void *)(to + at), v);
	return v;
}

/* Both functions below in one: `copy` is a constant to each. */
INLINE uint32_t pass(uint32_t acc, const uint8_t *p, size_t len, uint8_t *to,
		     bool copy)
{
	struct sums a = { _mm256_setzero_si256(), _mm256_setzero_si256() };
	struct sums b = a, c = a, d = a;
	uint64_t sum = acc;

	if (len & 1) {
		sum += p[--len];	/* x86 is little-endian: zero-padded */
		if (copy)
			to[len] = p[len];
	}
	/* Twice four, as a loop of four takes 3 or 4 cycles a turn depending
	 * on the address it happens to be linked at. */
	for (; len >= 256; len -= 256, p += 256) {
		a = add(a, take(p, to, 0, copy));
		b = add(b, take(p, to, 32, copy));
		c = add(c, take(p, to, 64, copy));
		d = add(d, take(p, to, 96, copy));
		a = add(a, take(p, to, 128, copy));
		b = add(b, take(p, to, 160, copy));
		c = add(c, take(p, to, 192, copy));
		d = add(d, take(p, to, 224, copy));
		if (copy)
			to += 256;
	}
	for (; len >= 32; len -= 32, p += 32) {
		a = add(a, take(p, to, 0, copy));
		if (copy)
			to += 32;
	}
	if (len) {
		/* The last 32 bytes again, but for those already counted.
		 * Both ends are even, so words stay words. */
		__m256i v = take(p, to, (ptrdiff_t)len - 32, copy);

		b = add(b, _mm256_and_si256(v, load(keep_last + len)));
	}
	return csum_reduce(sum + finish(join(join(a, b), join(c, d))));
}

AVX2 uint32_t csum_add_avx2(uint32_t acc, const void *data, size_t len)
{
	return pass(acc, data, len, NULL, false);
}

AVX2 uint32_t csum_copy_avx2(uint32_t acc, void *to, const void *from,
			     size_t len)
{
	return pass(acc, from, len, to, true);
}
#endif
