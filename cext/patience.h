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
 * A worker that carries bulk does not look: a stream waits for its window, not
 * for one packet, and whoever has yielded comes back late, while one that is
 * woken comes before those that computed meanwhile.  When it has run dry after
 * bulk it lets more of it gather, as network cards do with their interrupts.
 * One large packet is no bulk yet: it may be all of an answer that is waited
 * for, and whoever asks again must not wait for us each time.
 *
 * It gives way: between two looks it yields its core, so what it spends is
 * what nobody else wants.  (To stop looking altogether where others want the
 * core was worse by every measure, docs/decisions/performance.md.)
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum {
	LARGE = 16 << 10,	/* bytes read or received in one */
	BULK_LARGE = 2,		/* of these without running dry are bulk */
	BULK_WAITS = 16,	/* times of running dry for which it counts */
	GATHER_NS = 10000,	/* and what timers are slack by, 50 us */
};

struct patience {
	uint64_t most;		/* ns, 0: never look */
	bool gathers;		/* bulk: each send costs much, however large */
	uint64_t gap;		/* ns, average of the last ones */
	uint32_t large;		/* since the worker last ran dry */
	uint32_t bulk;		/* times for which not to look */
};

static inline void patience_init(struct patience *p, uint64_t most,
				 bool gathers)
{
	*p = (struct patience){ .most = most, .gathers = gathers,
				.gap = 4 * most };
}

/* Whether to look (again), `waited` ns after running dry. */
static inline bool patience_left(const struct patience *p, uint64_t waited)
{
	return !p->bulk && p->gap <= p->most && waited < p->most;
}

/* So many bytes were read or received in one. */
static inline void patience_carried(struct patience *p, uint32_t bytes)
{
	if (bytes < LARGE)
		return;
	p->large++;
	if (p->large >= BULK_LARGE)
		p->bulk = BULK_WAITS;
}

/* Whether to let bulk gather, before anything else, when run dry. */
static inline bool patience_gathers(const struct patience *p)
{
	return p->gathers && p->bulk && p->large;
}

/* There is something to do, `gap` ns after running dry. */
static inline void patience_learn(struct patience *p, uint64_t gap)
{
	if (gap > 4 * p->most)
		gap = 4 * p->most;
	p->gap = (3 * p->gap + gap) / 4;
	p->bulk -= p->bulk > 0;
	p->large = 0;
}
