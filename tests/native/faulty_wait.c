/* SPDX-License-Identifier: Apache-2.0
 *
 * The calls that wait.
 */
#include "faulty_kernel.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>

#include "check.h"

int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout)
{
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
	(void)epoll;
	CHECK(n >= 3 && timeout >= 0);
	if (kernel_fails(EPOLL_WAIT))
		return -1;
	events[0] = (struct epoll_event){ .events = EPOLLIN, .data.u32 = 0 };
	if (kernel.broken)
		events[0].events |= EPOLLERR;
	events[1] = (struct epoll_event){ .events = EPOLLIN,
					  .data.u32 = EVENT_SOCKET };
	return (int)rnd_below(3);
}

int __wrap_epoll_ctl(int epoll, int what, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int what, int fd, struct epoll_event *event)
{
	(void)epoll;
	(void)event;
	CHECK(what == EPOLL_CTL_DEL && fd == 1);
	kernel.unwatched++;
	errno = EBADF;
	return -1;
}
