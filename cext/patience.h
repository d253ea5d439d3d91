/* SPDX-License-Identifier: Apache-2.0
 *
 * How long a worker that has run dry looks for its next packet before it
 * sleeps.
 *
 * Theory of operation.  To be woken on another core costs 10 to 50 us, more
 * than all that is done to a packet here, and the waker pays for it too.  So a
 * worker whose next packet is due sooner had better look for it.  Whether it
 * is, the gaps before the last ones say: while their average is not above
 * `most`, the worker looks for as long as `most`, then sleeps.  A gap that
 * looking did not cover counts with its length, so a few of those and the
 * worker sleeps at once; on an idle node it never looks.
 *
 * It gives way: between two looks it yields its core, so what it spends is
 * what nobody else wants.  (To stop looking altogether where others want the
 * core was worse by every measure, docs/decisions/performance.md.)
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct patience {
	uint64_t most;		/* ns, 0: never look */
	uint64_t gap;		/* ns, average of the last ones */
};

static inline void patience_init(struct patience *p, uint64_t most)
{
	*p = (struct patience){ .most = most, .gap = 4 * most };
}

/* Whether to look (again), `waited` ns after running dry. */
static inline bool patience_left(const struct patience *p, uint64_t waited)
{
	return p->gap <= p->most && waited < p->most;
}

/* There is something to do, `gap` ns after running dry. */
static inline void patience_learn(struct patience *p, uint64_t gap)
{
	if (gap > 4 * p->most)
		gap = 4 * p->most;
	p->gap = (3 * p->gap + gap) / 4;
}
