/* SPDX-License-Identifier: Apache-2.0
 *
 * Which packets somebody wants to see: tests of one packet each, and what
 * joins their answers, in the order of a stack (reverse Polish notation).
 * fwd/core/capturefilter.py makes them of an expression for people.
 */
#pragma once
#include <stdbool.h>

#include "api.h"
#include "pkt.h"

enum { FILTER_DEPTH = 64 };	/* of the stack: bits of a uint64_t */

struct filter {
	uint32_t n;
	struct vx_test tests[VX_MAX_TESTS];
};

/* What is known of a packet. */
struct seen {
	uint8_t point;			/* VX_FROM_TUN, ... */
	uint16_t verdict;		/* VX_PASSED or a drop counter */
	uint8_t family;
	const uint8_t *outer;		/* the other node; NULL: none known */
	const struct pkt *pkt;		/* NULL: no inner packet to be read */
};

/* -EINVAL: no expression, or too deep a one.  No tests at all: everything. */
int filter_check(const struct vx_test *tests, uint32_t n);

bool filter_matches(const struct filter *f, const struct seen *s);
