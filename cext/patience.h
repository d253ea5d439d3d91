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
 * Beside bulk of another queue a flood of small packets would have all the
 * time that there is: the worker never runs dry, bulk never gathers, and on a
 * busy node the flood's way takes the processors that bulk's ends need.  So
 * there a batch is a short one, and when it was not all the worker pauses as
 * it does for bulk: beside one stream 18,000 to 36,000 a second pass of a
 * flood on two busy processors, of which the kernel's path carries 47,000.
 * (Bulk that is received alone does not slow it down: then small packets may
 * be what that is acknowledged with.)
 *
 * A super-packet of many small segments is such a flood in one piece (a stream
 * of a tiny MSS, UDP_SEGMENT of a few bytes): 64 KiB of 76-byte segments cost
 * a millisecond.  It is a batch for itself, and the worker pauses after it.
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
	BULK_SMALL = 16,	/* packets of a batch beside it */
	SMALL_SEGMENT = 512,	/* bytes; more smaller ones are no bulk */
	GATHER_NS = 10000,	/* and what timers are slack by, 50 us */
};

struct patience {
	uint64_t most;		/* ns, 0: never look */
	bool gathers;		/* bulk: each send costs much, however large */
	uint64_t gap;		/* ns, average of the last ones */
	bool full;		/* small packets beside it were not all read, */
				/* or they came as a super-packet */
	uint32_t large;		/* since the worker last ran dry */
	uint32_t bulk;		/* times for which not to look */
	uint32_t waits;
	/* Queues that bulk was read from, a bit each: lately, and before. */
	uint32_t carriers[2];
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

/* Whether a read of so many bytes was such a super-packet. */
static inline bool patience_is_flood(uint32_t bytes, uint32_t gso_size)
{
	return gso_size && gso_size < SMALL_SEGMENT &&
	       bytes > BULK_SMALL * gso_size;
}

/* So many bytes were read in one, from this queue, or received (0). */
static inline void patience_carried(struct patience *p, uint32_t bytes,
				    uint32_t queue_bit)
{
	if (bytes < LARGE)
		return;
	p->carriers[0] |= queue_bit;
	p->large++;
	if (p->large >= BULK_LARGE)
		p->bulk = BULK_WAITS;
}

/* Whether to let bulk gather, before anything else, when run dry. */
static inline bool patience_gathers(const struct patience *p)
{
	return p->gathers && p->bulk && p->large;
}

/* The queues that have bulk, a bit each. */
static inline uint32_t patience_carriers(const struct patience *p)
{
	return p->bulk ? p->carriers[0] | p->carriers[1] : 0;
}

/* Whether this queue has no bulk, but another one has. */
static inline bool patience_beside(const struct patience *p,
				   uint32_t queue_bit)
{
	uint32_t carriers = patience_carriers(p);

	return carriers && !(carriers & queue_bit);
}

/* The worker has waited, or paused after such a batch. */
static inline void patience_waited(struct patience *p)
{
	p->full = false;
	p->large = 0;
	if (p->bulk)
		p->bulk--;
	p->waits++;
	if (p->waits % BULK_WAITS)
		return;
	p->carriers[1] = p->carriers[0];
	p->carriers[0] = 0;
}

/* There is something to do, `gap` ns after running dry. */
static inline void patience_learn(struct patience *p, uint64_t gap)
{
	if (gap > 4 * p->most)
		gap = 4 * p->most;
	p->gap = (3 * p->gap + gap) / 4;
	patience_waited(p);
}
