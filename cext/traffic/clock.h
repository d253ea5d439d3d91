/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

enum { NS = 1000000000 };

static inline uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * (uint64_t)NS + t.tv_nsec;
}

static inline uint64_t ns_of(double seconds)
{
	return seconds > 0 ? (uint64_t)(seconds * NS) : 0;
}

static inline bool is_readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return fd >= 0 && poll(&p, 1, 0) == 1;
}
