/* SPDX-License-Identifier: Apache-2.0
 *
 * Round trips: who asks, and who answers.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api.h"
#include "clock.h"

enum {
	EVENTS = 16,
	CALLS = 64,
	ECHO_ROOM = 65536,
};

enum { UDP, LISTENER, STOP, N_FDS };

/* All `size` bytes of the answer to datagram `seq`, or of a stream. */
static int await_answer(int fd, uint8_t *data, uint32_t size, bool stream,
			uint64_t seq)
{
	uint32_t got = 0;

	while (got < size) {
		ssize_t n = recv(fd, data + got, size - got, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0 && stream)
			return -ECONNRESET;
		/* The answer to one that was given up comes late. */
		if (stream)
			got += n;
		else if (n >= (ssize_t)sizeof(seq) &&
			 memcmp(data, &seq, sizeof(seq)) == 0)
			break;
	}
	return 0;
}

static int ping_loop(struct tg_ping *run, int fd, bool stream, uint8_t *data,
		     uint32_t *ns)
{
	uint64_t end = now_ns() + ns_of(run->seconds), begin;

	for (uint64_t seq = 0; run->done < run->room; seq++) {
		int error = 0;

		begin = now_ns();
		if (begin >= end)
			break;
		memcpy(data, &seq, sizeof(seq));
		if (send(fd, data, run->size, MSG_NOSIGNAL) !=
		    (ssize_t)run->size)
			error = -errno;
		if (!error)
			error = await_answer(fd, data, run->size, stream, seq);
		if (!error)
			ns[run->done++] = now_ns() - begin;
		else if (error == -EAGAIN && !stream)
			run->lost++;
		else
			return error == -EAGAIN ? -ETIMEDOUT : error;
	}
	return 0;
}

int tg_ping(int fd, uint32_t *ns, struct tg_ping *run)
{
	socklen_t len = sizeof(int);
	uint8_t *data;
	int type, error;

	run->done = run->lost = 0;
	if (run->size < TG_MIN_SIZE || run->size > TG_MAX_SIZE)
		return -EINVAL;
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
		return -errno;
	data = calloc(1, run->size);
	if (!data)
		return -ENOMEM;
	error = ping_loop(run, fd, type == SOCK_STREAM, data, ns);
	free(data);
	return error;
}

static void echo_datagrams(int fd, uint8_t *data)
{
	struct sockaddr_storage from;
	struct msghdr m = { .msg_name = &from,
			    .msg_iov = &(struct iovec){ data, ECHO_ROOM },
			    .msg_iovlen = 1 };
	ssize_t n;

	for (;;) {
		m.msg_namelen = sizeof(from);
		m.msg_iov->iov_len = ECHO_ROOM;
		n = recvmsg(fd, &m, MSG_DONTWAIT);
		if (n < 0)
			return;
		m.msg_iov->iov_len = n;
		sendmsg(fd, &m, MSG_DONTWAIT);
	}
}

/* False: it is closed, or its peer sends faster than it reads. */
static bool echo_stream(int fd, uint8_t *data)
{
	ssize_t n = recv(fd, data, ECHO_ROOM, MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	return n > 0 && send(fd, data, n, MSG_NOSIGNAL | MSG_DONTWAIT) == n;
}

static int watch(int epoll, int fd)
{
	struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) ? -errno : 0;
}

/* Accepted connections; the oldest of too many goes. */
struct calls {
	int fd[CALLS];
	unsigned next;
};

static void answer_call(struct calls *c, int epoll, int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	int *place = &c->fd[c->next++ % CALLS];

	if (fd < 0)
		return;
	if (*place >= 0)
		close(*place);
	*place = watch(epoll, fd) ? (close(fd), -1) : fd;
}

static void hang_up(struct calls *c, int fd)
{
	for (unsigned i = 0; i < CALLS; i++)
		if (c->fd[i] == fd) {
			close(fd);
			c->fd[i] = -1;
		}
}

/* False: it is time to stop. */
static bool echo_turn(struct calls *c, int epoll, const int *fds,
		      uint8_t *data)
{
	struct epoll_event e[EVENTS];
	int n = epoll_wait(epoll, e, EVENTS, -1);

	for (int i = 0; i < n; i++) {
		int fd = e[i].data.fd;

		if (fd == fds[STOP])
			return false;
		if (fd == fds[UDP])
			echo_datagrams(fd, data);
		else if (fd == fds[LISTENER])
			answer_call(c, epoll, fd);
		else if (!echo_stream(fd, data))
			hang_up(c, fd);
	}
	return true;
}

int tg_echo(int udp, int listener, int stop)
{
	const int fds[] = { [UDP] = udp, [LISTENER] = listener,
			    [STOP] = stop };
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	int error = epoll < 0 ? -errno : 0;
	uint8_t *data = malloc(ECHO_ROOM);
	struct calls calls = { .next = 0 };

	for (unsigned i = 0; i < CALLS; i++)
		calls.fd[i] = -1;
	if (!error && !data)
		error = -ENOMEM;
	for (unsigned i = 0; !error && i < N_FDS; i++)
		error = watch(epoll, fds[i]);
	while (!error && echo_turn(&calls, epoll, fds, data))
		;
	for (unsigned i = 0; i < CALLS; i++)
		if (calls.fd[i] >= 0)
			close(calls.fd[i]);
	if (epoll >= 0)
		close(epoll);
	free(data);
	return error;
}
