/* SPDX-License-Identifier: Apache-2.0
 *
 * What people are shown of packets: of those that were dropped some, always;
 * of all that pass a filter, while somebody captures.
 *
 * Theory of operation.  A worker writes records (struct vx_record) to rings of
 * its own, which the control thread empties (ring.h).  Of drops it writes a few
 * a second for each reason, so that a flood of one hides no other and costs
 * nothing.  A capture is one structure for all workers, published by a pointer
 * that each of them loads once a turn, after its quiet point; it is freed as
 * an old table is (snapshot.h).
 *
 * Without a capture no packet pays for it.  A check of a packet's result
 * compares with `ordinary` instead of with NO_DROP: that is NO_DROP, and while
 * a capture runs something that no result equals, so that every packet takes
 * the way that dropped ones take, where there is time to look.
 */
#pragma once
#include "counters.h"
#include "filter.h"
#include "ring.h"

enum {
	DROP_KEEPS = 160,		/* bytes of a dropped packet */
	DROPS_A_SECOND = 10,		/* of one reason and worker */
	DROP_RING = 64 << 10,
	NOTHING_IS_ORDINARY = N_COUNTERS + 1,
};

static_assert(VX_PASSED > NOTHING_IS_ORDINARY, "no counter is called that");

/* Of functions that the hot path calls seldom, and should not make room for. */
#define SELDOM __attribute__((noinline, cold))

struct capture {
	struct filter filter;
	uint32_t snaplen;		/* bytes of a packet to keep */
	uint32_t n_rings;
	struct ring rings[];		/* one a worker */
};

struct tracer {
	uint8_t family;
	uint32_t ordinary;		/* an enum counter, or none */
	struct capture *capture;	/* of this turn; NULL: none */
	uint32_t index;			/* of the worker */
	struct ring drops;
	uint64_t second;
	uint8_t told[N_COUNTERS];	/* drops of this second */
};

/* A packet at one place. */
struct sighting {
	uint8_t point;			/* VX_FROM_TUN, ... */
	uint8_t tos;			/* of the outer header */
	be16 port;			/* outer source port; 0: unknown */
	const uint8_t *outer;		/* the other node; NULL: none */
	const uint8_t *data;
	uint32_t len;
	uint32_t packets;		/* that it stands for */
	uint64_t time;			/* trace_now(); 0: it is now */
};

/*
 * Nanoseconds since 1970.  What is shown after it was passed on has the time
 * before that: another worker may show the answer meanwhile.
 */
uint64_t trace_now(void);

int tracer_init(struct tracer *t, uint8_t family);
void tracer_free(struct tracer *t);

/* A new turn, with this capture. */
static inline void trace_turn(struct tracer *t, struct capture *capture)
{
	t->capture = capture;
	t->ordinary = capture ? NOTHING_IS_ORDINARY : NO_DROP;
}

/* A packet was dropped.  Counting is the caller's. */
void trace_dropped(struct tracer *t, enum counter reason,
		   const struct sighting *s);

/* A packet went its way, and a capture runs. */
void trace_passed(struct tracer *t, const struct sighting *s);
