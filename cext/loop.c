/* SPDX-License-Identifier: Apache-2.0
 *
 * A worker's thread: both directions by turns, each a bounded batch, so that
 * neither starves the other, and of the TUN's queues a part of it each, so
 * that the flows of one do not starve those of another; when all have been
 * read dry it lets bulk gather or looks for more for a moment (patience.h),
 * then sleeps.
 */
#include <poll.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include "callfilter.h"
#include "rights.h"
#include "worker.h"

enum { SLEEP_MS = 1000 };

/* What is ready, a bit for each event. */
enum { QUEUES = (1u << VX_WORKER_QUEUES) - 1, SOCKET = 1u << EVENT_SOCKET };

/* Of a coarse clock. */
static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void let_gather(void)
{
	struct timespec t = { .tv_nsec = GATHER_NS };

	ppoll(NULL, 0, &t, NULL);
}

/* What has something; nothing after a while, and to stop. */
static unsigned wait_until_ready(struct worker *w)
{
	struct patience *p = &w->patience;
	uint64_t begin = now_ns();
	unsigned ready = 0;
	bool done = false;

	snapshot_leave(w->reader);
	if (patience_gathers(p))
		let_gather();
	while (!done && patience_left(p, now_ns() - begin)) {
		sched_yield();
		done = watch_look(&w->watch, 0, &ready);
	}
	if (!done)
		watch_look(&w->watch, SLEEP_MS, &ready);
	patience_learn(p, now_ns() - begin);
	return ready;
}

/* A batch of each direction that is ready; whether there may be more. */
static bool take_turn(struct worker *w, const struct table *t, unsigned ready)
{
	bool more = false;

	w->ready = ready & QUEUES;
	if (w->ready)
		more = outbound(w, t);
	if (w->patience.full) {
		let_gather();
		patience_waited(&w->patience);
	}
	if (ready & SOCKET)
		more |= inbound(w, t);
	return more;
}

void *worker_main(void *worker)
{
	struct worker *w = worker;
	unsigned ready = 0;

	atomic_store_explicit(&w->tid, gettid(), memory_order_relaxed);
	rights_leave_worker();
	callfilter_leave_worker();
	while (!atomic_load_explicit(w->stopping, memory_order_relaxed)) {
		const struct table *t = snapshot_read(w->snapshot, w->reader);

		w->sender.now = now_ms();
		trace_turn(&w->trace, atomic_load(w->capture));
		if (take_turn(w, t, ready))
			watch_look(&w->watch, 0, &ready);
		else
			ready = wait_until_ready(w);
	}
	snapshot_leave(w->reader);
	return NULL;
}
