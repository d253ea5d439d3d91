/* SPDX-License-Identifier: Apache-2.0 */
#include "watch.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { EVENTS = EVENT_STOP + 1 };

static int add(const struct watch *w, int fd, uint32_t event)
{
	struct epoll_event e = { .events = EPOLLIN, .data.u32 = event };

	return epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &e) < 0 ? -errno : 0;
}

int watch_init(struct watch *w, const int *tuns, uint32_t n, int listen,
	       int stop)
{
	int error;

	*w = (struct watch){ .tuns = tuns, .listen = listen,
			     .epoll = epoll_create1(EPOLL_CLOEXEC) };
	error = w->epoll < 0 ? -errno : 0;
	for (uint32_t i = 0; !error && i < n; i++)
		error = add(w, tuns[i], i);
	if (!error)
		error = add(w, listen, EVENT_SOCKET);
	return error ? error : add(w, stop, EVENT_STOP);
}

void watch_free(struct watch *w)
{
	if (w->epoll >= 0)
		close(w->epoll);
}

/*
 * A TUN that is deleted under us reports errors for ever: leave it alone,
 * the control thread makes a new plane.
 */
static void drop_broken(const struct watch *w, const struct epoll_event *e)
{
	if (e->events & (EPOLLERR | EPOLLHUP) && e->data.u32 < EVENT_SOCKET)
		epoll_ctl(w->epoll, EPOLL_CTL_DEL, w->tuns[e->data.u32], NULL);
}

static unsigned look_by_epoll(const struct watch *w, int ms)
{
	struct epoll_event events[EVENTS];
	int n = epoll_wait(w->epoll, events, EVENTS, ms);
	unsigned ready = 0;

	for (int i = 0; i < n; i++) {
		drop_broken(w, &events[i]);
		ready |= 1u << events[i].data.u32;
	}
	return ready;
}

static unsigned look_apart(const struct watch *w, int ms)
{
	struct pollfd p[2] = { { .fd = w->listen, .events = POLLIN },
			       { .fd = w->epoll, .events = POLLIN } };
	unsigned ready = 0;

	if (poll(p, 2, ms) <= 0)
		return 0;
	if (p[0].revents)
		ready = 1u << EVENT_SOCKET;
	return p[1].revents ? ready | look_by_epoll(w, 0) : ready;
}

/* Where a call fails the socket stays where it is for the time of a train. */
static void place_socket(struct watch *w)
{
	bool apart = w->train > 0;
	int error;

	if (apart == w->apart)
		return;
	if (apart)
		error = epoll_ctl(w->epoll, EPOLL_CTL_DEL, w->listen, NULL);
	else
		error = add(w, w->listen, EVENT_SOCKET);
	if (!error)
		w->apart = apart;
	else
		w->train = apart ? 0 : TRAIN_LASTS;
}

bool watch_look(struct watch *w, int ms, unsigned *ready)
{
	if (ms && w->train)
		w->train--;
	place_socket(w);
	*ready = w->apart ? look_apart(w, ms) : look_by_epoll(w, ms);
	return *ready != 0;
}
