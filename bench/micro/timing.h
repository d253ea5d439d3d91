/* SPDX-License-Identifier: Apache-2.0
 *
 * Timing for the micro-benchmarks.
 *
 * The machine is shared, and what disturbs a run only makes it slower: so each
 * figure is the fastest of many short rounds, and things to be compared take
 * turns instead of following each other.
 */
#pragma once
#include <stdint.h>
#include <time.h>

static inline double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* The compiler must compute x, and may not assume what it was. */
#define KEEP(x) __asm__ volatile("" : "+r"(x))

static inline double least(double a, double b)
{
	return a < b ? a : b;
}
