/* SPDX-License-Identifier: Apache-2.0
 *
 * The calls that wait.
 */
#include "faulty_kernel.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>

#include "check.h"

/* A worker's, whose socket is apart: at the socket, then at its epoll. */
static int look(struct pollfd *fds, int timeout)
{
	CHECK(fds[0].fd == LISTEN_FD && fds[0].events == POLLIN);
	CHECK(fds[1].fd == EPOLL_FD && fds[1].events == POLLIN);
	CHECK(kernel.is_apart && timeout >= 0);
	kernel.apart++;
	if (kernel_fails(POLL))
		return -1;
	fds[0].revents = rnd_chance(50) ? POLLIN : 0;
	fds[1].revents = rnd_chance(50) ? POLLIN : 0;
	return !!fds[0].revents + !!fds[1].revents;
}

int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout)
{
	if (n == 2)
		return look(fds, timeout);
	CHECK(n == 1 && fds->events == POLLOUT);
	CHECK(timeout >= 0 && timeout < 100);
	if (kernel_fails(POLL))
		return -1;
	return !kernel.no_room && rnd_chance(50);
}

int __wrap_epoll_wait(int epoll, struct epoll_event *events, int n,
		      int timeout);
int __wrap_epoll_wait(int epoll, struct epoll_event *events, int n,
		      int timeout)
{
	CHECK(epoll == EPOLL_FD && n >= 3 && timeout >= 0);
	if (kernel_fails(EPOLL_WAIT))
		return -1;
	events[0] = (struct epoll_event){ .events = EPOLLIN, .data.u32 = 0 };
	if (kernel.broken)
		events[0].events |= EPOLLERR;
	events[1] = (struct epoll_event){ .events = EPOLLIN,
					  .data.u32 = EVENT_SOCKET };
	return (int)rnd_below(kernel.is_apart ? 2 : 3);
}

/* The socket is moved, half of the times in vain. */
static int place(int what, const struct epoll_event *event)
{
	bool joins = what == EPOLL_CTL_ADD;

	CHECK(joins || what == EPOLL_CTL_DEL);
	CHECK_EQ(joins, kernel.is_apart);
	CHECK(!joins || (event->events == EPOLLIN &&
			 event->data.u32 == EVENT_SOCKET));
	errno = ENOMEM;
	if (rnd_chance(50))
		return -1;
	kernel.is_apart = !joins;
	kernel.rejoined += joins;
	return 0;
}

int __wrap_epoll_ctl(int epoll, int what, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int what, int fd, struct epoll_event *event)
{
	CHECK_EQ(epoll, EPOLL_FD);
	if (fd == LISTEN_FD)
		return place(what, event);
	CHECK(what == EPOLL_CTL_DEL && fd == TUN_FD);
	kernel.unwatched++;
	errno = EBADF;
	return -1;
}
