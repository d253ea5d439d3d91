/* SPDX-License-Identifier: Apache-2.0
 *
 * The portable checksum, and the choice between it and csum_avx2.c.
 *
 * docs/decisions/checksum.md has what was measured.
 */
#include "csum.h"

#include <pthread.h>

#include "api.h"

/* Written before threads start (csum_init), only read by them. */
static bool have_avx2;

static uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/*
 * Two sums of 64-bit words, so that neither waits for the other, and the
 * carries out of them counted apart: folding each carry back in at once
 * doubles the length of the chain of dependent additions, and halves the
 * speed.
 */
static uint32_t add_portable(uint32_t acc, const uint8_t *p, size_t len)
{
	uint64_t even = 0, odd = 0, carries = acc, rest;

	for (; len >= 32; len -= 32, p += 32) {
		uint64_t a = load64(p), b = load64(p + 8);
		uint64_t c = load64(p + 16), d = load64(p + 24);

		even += a;
		carries += even < a;
		odd += b;
		carries += odd < b;
		even += c;
		carries += even < c;
		odd += d;
		carries += odd < d;
	}
	rest = carries;
	if (len & 16) {
		rest += csum_16(p);
		p += 16;
	}
	rest += csum_tail(p, len & 15);
	rest += (even & UINT32_MAX) + (even >> 32);
	rest += (odd & UINT32_MAX) + (odd >> 32);
	return csum_reduce(rest);
}

uint32_t csum_add_any(uint32_t acc, const void *data, size_t len)
{
#ifdef __x86_64__
	if (have_avx2 && len >= CSUM_AVX2_MIN)
		return csum_add_avx2(acc, data, len);
#endif
	return add_portable(acc, data, len);
}

uint32_t csum_copy(uint32_t acc, void *to, const void *from, size_t len)
{
#ifdef __x86_64__
	if (have_avx2 && len >= CSUM_AVX2_MIN)
		return csum_copy_avx2(acc, to, from, len);
#endif
	memcpy(to, from, len);
	return add_portable(acc, to, len);
}

static void choose(void)
{
#ifdef __x86_64__
	/* Also asks whether the kernel saves the upper halves (XGETBV). */
	__builtin_cpu_init();
	have_avx2 = __builtin_cpu_supports("avx2");
#endif
}

void csum_init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	/* Once: workers of another plane may be reading have_avx2. */
	pthread_once(&once, choose);
}

void csum_force_portable(bool force)
{
	if (force)
		have_avx2 = false;
	else
		choose();
}

const char *vx_csum_flavour(void)
{
	return have_avx2 ? "avx2" : "portable";
}
