/* SPDX-License-Identifier: Apache-2.0
 *
 * A worker's thread: both directions by turns, each a bounded batch, so that
 * neither starves the other; asleep when both have been read dry.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <time.h>

#include "worker.h"

enum { SLEEP_MS = 1000 };

enum direction { OUT = 1, IN = 2, BOTH = OUT | IN };

uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

/*
 * A TUN that is deleted under us reports errors for ever: leave it alone,
 * the control thread makes a new plane.
 */
static void drop_broken(struct worker *w, const struct epoll_event *e)
{
	if (e->events & (EPOLLERR | EPOLLHUP) && e->data.fd == w->tun)
		epoll_ctl(w->epoll, EPOLL_CTL_DEL, w->tun, NULL);
}

/* The directions that have something; none after a while, and to stop. */
static unsigned sleep_until_ready(struct worker *w)
{
	struct epoll_event events[3];
	unsigned ready = 0;
	int n;

	snapshot_leave(w->reader);
	n = epoll_wait(w->epoll, events, 3, SLEEP_MS);
	for (int i = 0; i < n; i++) {
		drop_broken(w, &events[i]);
		if (events[i].data.fd == w->tun)
			ready |= OUT;
		if (events[i].data.fd == w->listen)
			ready |= IN;
	}
	return ready;
}

void *worker_main(void *worker)
{
	struct worker *w = worker;
	unsigned ready = BOTH;

	while (!atomic_load_explicit(w->stopping, memory_order_relaxed)) {
		const struct table *t = snapshot_read(w->snapshot, w->reader);
		bool more;

		w->sender.now = now_ms();
		trace_turn(&w->trace, atomic_load(w->capture));
		more = ready & OUT && outbound(w, t);
		more |= ready & IN && inbound(w, t);
		/* While one direction is busy the other is tried each turn. */
		ready = more ? BOTH : sleep_until_ready(w);
	}
	snapshot_leave(w->reader);
	return NULL;
}
