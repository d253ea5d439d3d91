/* SPDX-License-Identifier: Apache-2.0
 *
 * Ways to sum that were tried for cext/csum.c and cext/csum_avx2.c, beside the
 * ones taken; docs/decisions/checksum.md has the reasons.  x86-64 only.
 *
 * All share one frame, so that only the step differs: blocks of eight vectors
 * (four words), then single ones, then the end.
 */
#pragma once
#include <immintrin.h>

#include "csum.h"

#define NOINLINE __attribute__((noinline)) static

/* Scalar: four words of 8 bytes a turn; STEP(even or odd, word). */

static uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

#define SCALAR(name, type, STEP, VALUE)                                     \
	NOINLINE uint32_t name(const uint8_t *p, size_t len)                \
	{                                                                   \
		type even = 0, odd = 0;                                     \
		uint64_t high = 0;                                          \
                                                                            \
		for (; len >= 32; len -= 32, p += 32) {                     \
			STEP(even, load64(p));                              \
			STEP(odd, load64(p + 8));                           \
			STEP(even, load64(p + 16));                         \
			STEP(odd, load64(p + 24));                          \
		}                                                           \
		for (; len >= 8; len -= 8, p += 8)                          \
			STEP(even, load64(p));                              \
		return csum_reduce(VALUE + csum_tail(p, len));              \
	}

#define FOLD(v) ((uint64_t)((v) & UINT32_MAX) + (uint64_t)((v) >> 32))

/* Both halves of each word, apart. */
#define STEP_HALVES(sum, word)                                              \
	do {                                                                \
		uint64_t w = (word);                                        \
		sum += w & UINT32_MAX;                                      \
		high += w >> 32;                                            \
	} while (0)
SCALAR(scalar_halves, uint64_t, STEP_HALVES, even + odd + high)

/* Each carry folded in at once. */
#define STEP_AT_ONCE(sum, word)                                             \
	do {                                                                \
		uint64_t w = (word);                                        \
		sum += w;                                                   \
		sum += sum < w;                                             \
	} while (0)
SCALAR(scalar_at_once, uint64_t, STEP_AT_ONCE, FOLD(even) + FOLD(odd) + high)

/* Carries counted apart: the one taken. */
#define STEP_APART(sum, word)                                               \
	do {                                                                \
		uint64_t w = (word);                                        \
		sum += w;                                                   \
		high += sum < w;                                            \
	} while (0)
SCALAR(scalar_apart, uint64_t, STEP_APART, FOLD(even) + FOLD(odd) + high)

/* The compiler's 128-bit integers. */
#define STEP_128(sum, word) sum += (word)
#define FOLD_128(v) (FOLD((uint64_t)(v)) + (uint64_t)((v) >> 64))
SCALAR(scalar_128, unsigned __int128, STEP_128,
       FOLD_128(even) + FOLD_128(odd) + high)

/*
 * AVX2: eight vectors a turn; STEP(accumulator 0..3, vector) and VALUE, a
 * vector of four 64-bit sums made of x[] and y[].
 */
#define V __m256i
#define ZEROS _mm256_setzero_si256()
#define ADD64(a, b) _mm256_add_epi64(a, b)
#define SUM4(v) ADD64(ADD64(v[0], v[1]), ADD64(v[2], v[3]))
#define LOAD(p) _mm256_loadu_si256((const void *)(p))

#define VECTOR(name, STEP, VALUE, BIAS)                                     \
	__attribute__((target("avx2"))) NOINLINE uint32_t name(             \
		const uint8_t *p, size_t len)                               \
	{                                                                   \
		V x[4] = { ZEROS, ZEROS, ZEROS, ZEROS };                    \
		V y[4] = { ZEROS, ZEROS, ZEROS, ZEROS };                    \
		uint64_t sum = (BIAS) * (len / 32), lane[4];                \
                                                                            \
		for (; len >= 256; len -= 256, p += 256) {                  \
			STEP(0, LOAD(p));                                   \
			STEP(1, LOAD(p + 32));                              \
			STEP(2, LOAD(p + 64));                              \
			STEP(3, LOAD(p + 96));                              \
			STEP(0, LOAD(p + 128));                             \
			STEP(1, LOAD(p + 160));                             \
			STEP(2, LOAD(p + 192));                             \
			STEP(3, LOAD(p + 224));                             \
		}                                                           \
		for (; len >= 32; len -= 32, p += 32)                       \
			STEP(0, LOAD(p));                                   \
		_mm256_storeu_si256((void *)lane, VALUE);                   \
		sum += lane[0] + lane[1] + lane[2] + lane[3];               \
		if (len & 16) {                                             \
			sum += csum_16(p);                                  \
			p += 16;                                            \
		}                                                           \
		return csum_reduce(sum + csum_tail(p, len & 15));           \
	}

/* Low and high bytes by the sum of absolute differences from zero. */
#define STEP_SAD(i, vector)                                                 \
	do {                                                                \
		V v = (vector);                                             \
		V low = _mm256_and_si256(v, _mm256_set1_epi16(0xff));       \
		V high = _mm256_srli_epi16(v, 8);                           \
		x[i] = ADD64(x[i], _mm256_sad_epu8(low, ZEROS));            \
		y[i] = ADD64(y[i], _mm256_sad_epu8(high, ZEROS));           \
	} while (0)
VECTOR(vector_sad, STEP_SAD,
       ADD64(SUM4(x), _mm256_slli_epi64(SUM4(y), 8)), 0)

/* 32-bit numbers widened to 64 by unpacking with zeros. */
#define STEP_UNPACK(i, vector)                                              \
	do {                                                                \
		V v = (vector);                                             \
		x[i] = ADD64(x[i], _mm256_unpacklo_epi32(v, ZEROS));        \
		y[i] = ADD64(y[i], _mm256_unpackhi_epi32(v, ZEROS));        \
	} while (0)
VECTOR(vector_unpack, STEP_UNPACK, ADD64(SUM4(x), SUM4(y)), 0)

/* The same by mask and shift. */
#define STEP_MASK(i, vector)                                                \
	do {                                                                \
		V v = (vector);                                             \
		V low = _mm256_and_si256(v, _mm256_set1_epi64x(UINT32_MAX));\
		x[i] = ADD64(x[i], low);                                    \
		y[i] = ADD64(y[i], _mm256_srli_epi64(v, 32));               \
	} while (0)
VECTOR(vector_mask, STEP_MASK, ADD64(SUM4(x), SUM4(y)), 0)

/* Words made signed, multiplied by one and added in pairs, in 32 bits. */
#define STEP_MADD(i, vector)                                                \
	do {                                                                \
		V v = _mm256_xor_si256((vector),                            \
				       _mm256_set1_epi16((short)0x8000));   \
		v = _mm256_madd_epi16(v, _mm256_set1_epi16(1));             \
		x[i] = _mm256_add_epi32(x[i], v);                           \
	} while (0)
#define WIDEN(v)                                                            \
	ADD64(_mm256_cvtepi32_epi64(_mm256_castsi256_si128(v)),             \
	      _mm256_cvtepi32_epi64(_mm256_extracti128_si256(v, 1)))
VECTOR(vector_madd, STEP_MADD,
       ADD64(ADD64(ADD64(WIDEN(x[0]), WIDEN(x[1])),
		   ADD64(WIDEN(x[2]), WIDEN(x[3]))), y[0]),
       16 * 0x8000ull)

/* All and high, with and without a word to gcc about loading once. */
#define STEP_ALL_HIGH(i, vector)                                            \
	do {                                                                \
		V v = (vector);                                             \
		x[i] = ADD64(x[i], v);                                      \
		y[i] = ADD64(y[i], _mm256_srli_epi64(v, 32));               \
	} while (0)
#define LOW_AND_HIGH                                                        \
	ADD64(_mm256_sub_epi64(SUM4(x), _mm256_slli_epi64(SUM4(y), 32)),    \
	      SUM4(y))
VECTOR(vector_all_high, STEP_ALL_HIGH, LOW_AND_HIGH, 0)

#define STEP_ONCE(i, vector)                                                \
	do {                                                                \
		V u = (vector);                                             \
		__asm__("" : "+x"(u));                                      \
		STEP_ALL_HIGH(i, u);                                        \
	} while (0)
VECTOR(vector_load_once, STEP_ONCE, LOW_AND_HIGH, 0)

/* The same with 512 bits, and a masked load for the end. */
#define V5 __m512i
#define ADD512(a, b) _mm512_add_epi64(a, b)
#define STEP_512(i, vector)                                                 \
	do {                                                                \
		V5 v = (vector);                                            \
		__asm__("" : "+v"(v));                                      \
		x[i] = ADD512(x[i], v);                                     \
		y[i] = ADD512(y[i], _mm512_srli_epi64(v, 32));              \
	} while (0)

__attribute__((target("avx512f,avx512bw"))) NOINLINE uint32_t
vector_512(const uint8_t *p, size_t len)
{
	V5 zeros = _mm512_setzero_si512(), low;
	V5 x[2] = { zeros, zeros }, y[2] = { zeros, zeros };

	for (; len >= 128; len -= 128, p += 128) {
		STEP_512(0, _mm512_loadu_si512(p));
		STEP_512(1, _mm512_loadu_si512(p + 64));
	}
	if (len >= 64) {
		STEP_512(0, _mm512_loadu_si512(p));
		len -= 64;
		p += 64;
	}
	if (len)
		STEP_512(1, _mm512_maskz_loadu_epi8(~0ull >> (64 - len), p));
	x[0] = ADD512(x[0], x[1]);
	y[0] = ADD512(y[0], y[1]);
	low = _mm512_sub_epi64(x[0], _mm512_slli_epi64(y[0], 32));
	y[0] = ADD512(low, y[0]);
	return csum_reduce((uint64_t)_mm512_reduce_add_epi64(y[0]));
}

NOINLINE uint32_t taken(const uint8_t *p, size_t len)
{
	return csum_add_any(0, p, len);
}
