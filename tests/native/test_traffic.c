/* SPDX-License-Identifier: Apache-2.0
 *
 * The load generator counts what is there: everything that was sent, late and
 * doubled datagrams as such, and lost answers without hanging on them.
 * Sockets on loopback; nothing asserts on speed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "check.h"
#include "traffic/api.h"
#include "traffic/datagrams.h"

enum { MANY = 1000 };

static struct sockaddr_in name_of(int fd)
{
	struct sockaddr_in name;
	socklen_t len = sizeof(name);

	CHECK_EQ(getsockname(fd, (struct sockaddr *)&name, &len), 0);
	return name;
}

static int server(int type)
{
	struct sockaddr_in any = { .sin_family = AF_INET };
	int fd = socket(AF_INET, type, 0), room = 8 << 20;

	any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	CHECK_EQ(bind(fd, (struct sockaddr *)&any, sizeof(any)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	if (type == SOCK_STREAM)
		CHECK_EQ(listen(fd, 8), 0);
	return fd;
}

static int client(int to, int type, int wait_us)
{
	struct timeval wait = { 0, wait_us };
	struct sockaddr_in name = name_of(to);
	int fd = socket(AF_INET, type, 0);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	CHECK_EQ(connect(fd, (struct sockaddr *)&name, sizeof(name)), 0);
	return fd;
}

/* --- one way -------------------------------------------------------------- */

struct counting {
	struct tg_receive run;
	int fd, stop, error;
};

static void *count(void *counting)
{
	struct counting *c = counting;

	c->error = tg_receive(c->fd, c->stop, &c->run);
	return NULL;
}

static struct counting flood(struct tg_send *run, uint32_t flows)
{
	struct counting c = { .run = { .seconds = 10, .quiet = 0.05 },
			      .fd = server(SOCK_DGRAM),
			      .stop = eventfd(0, 0) };
	int fds[TG_MAX_FLOWS];
	pthread_t thread;

	for (uint32_t i = 0; i < flows; i++)
		fds[i] = client(c.fd, SOCK_DGRAM, 0);
	CHECK_EQ(pthread_create(&thread, NULL, count, &c), 0);
	CHECK_EQ(tg_send(fds, run), 0);
	eventfd_write(c.stop, 1);
	pthread_join(thread, NULL);
	CHECK_EQ(c.error, 0);
	for (uint32_t i = 0; i < flows; i++)
		close(fds[i]);
	close(c.fd);
	close(c.stop);
	return c;
}

TEST(paced_datagrams_arrive_whole_and_in_order)
{
	struct tg_send run = { .size = 64, .flows = 3, .first = 7,
			       .rate = 5000, .seconds = 0.2 };
	struct counting c = flood(&run, 3);

	CHECK(run.sent > 0 && run.sent <= 1001);
	CHECK_EQ(c.run.received, run.sent);
	CHECK_EQ(c.run.reordered + c.run.duplicate + c.run.strange, 0);
	CHECK(run.elapsed >= 0.2);
	CHECK(c.run.active > 0);
}

TEST(an_unpaced_sender_is_not_held_back)
{
	struct tg_send run = { .size = 1300, .flows = 1, .seconds = 0.1 };
	struct counting c = flood(&run, 1);

	CHECK(run.sent > 0);
	CHECK(c.run.received > 0 && c.run.received <= run.sent);
	CHECK_EQ(c.run.reordered, 0);
}

static void *end(void *run)
{
	usleep(50000);
	__atomic_store_n(&((struct tg_send *)run)->over, 1, __ATOMIC_RELAXED);
	return NULL;
}

TEST(a_sender_ends_when_told_to)
{
	struct tg_send run = { .size = 64, .flows = 1, .rate = 1000,
			       .seconds = 1000 };
	struct counting c;
	pthread_t thread;

	CHECK_EQ(pthread_create(&thread, NULL, end, &run), 0);
	c = flood(&run, 1);
	pthread_join(thread, NULL);
	CHECK_EQ(c.run.received, run.sent);
	CHECK(run.elapsed > 0 && run.elapsed < 100);
}

static void put(int fd, uint32_t flow, uint64_t seq)
{
	struct number n = { flow, MAGIC, seq };

	CHECK_EQ(send(fd, &n, sizeof(n), 0), (ssize_t)sizeof(n));
}

TEST(late_and_doubled_numbers_are_told_apart_by_flow)
{
	static const uint64_t first[] = { 0, 1, 4, 3, 5, 5, 2, 6 };
	struct tg_receive run = { .seconds = 5, .quiet = 0.05 };
	int fd = server(SOCK_DGRAM), to = client(fd, SOCK_DGRAM, 0);
	int stop = eventfd(1, 0);

	for (unsigned i = 0; i < sizeof(first) / sizeof(*first); i++) {
		put(to, 0, first[i]);
		put(to, TG_MAX_FLOWS - 1, i);
	}
	put(to, TG_MAX_FLOWS, 1);
	CHECK_EQ(send(to, "short", 5, 0), 5);
	CHECK_EQ(send(to, "of sixteen bytes or so", 22, 0), 22);
	CHECK_EQ(tg_receive(fd, stop, &run), 0);
	CHECK_EQ(run.received, 16);
	CHECK_EQ(run.reordered, 2);
	CHECK_EQ(run.duplicate, 1);
	CHECK_EQ(run.strange, 3);
	close(fd);
	close(to);
	close(stop);
}

TEST(a_receiver_ends_without_any_datagram)
{
	struct tg_receive run = { .seconds = 0.1, .quiet = 5 };
	int fd = server(SOCK_DGRAM);

	CHECK_EQ(tg_receive(fd, -1, &run), 0);
	CHECK_EQ(run.received, 0);
	CHECK(run.active == 0);
	close(fd);
}

TEST(what_makes_no_sense_is_refused)
{
	struct tg_send run = { .size = TG_MIN_SIZE - 1, .flows = 1 };
	struct tg_ping ping = { .size = TG_MAX_SIZE + 1 };
	int fd = 0;

	CHECK_EQ(tg_send(&fd, &run), -EINVAL);
	run = (struct tg_send){ .size = 64 };
	CHECK_EQ(tg_send(&fd, &run), -EINVAL);
	run = (struct tg_send){ .size = 64, .flows = 1,
				.first = TG_MAX_FLOWS };
	CHECK_EQ(tg_send(&fd, &run), -EINVAL);
	CHECK_EQ(tg_ping(fd, NULL, &ping), -EINVAL);
}

/* --- round trips ---------------------------------------------------------- */

struct echo {
	int udp, listener, stop, error;
};

static void *answer(void *echo)
{
	struct echo *e = echo;

	e->error = tg_echo(e->udp, e->listener, e->stop);
	return NULL;
}

TEST(round_trips_of_both_kinds)
{
	struct echo e = { .udp = server(SOCK_DGRAM),
			  .listener = server(SOCK_STREAM),
			  .stop = eventfd(0, 0) };
	static const int types[] = { SOCK_DGRAM, SOCK_STREAM, SOCK_STREAM };
	pthread_t thread;

	CHECK_EQ(pthread_create(&thread, NULL, answer, &e), 0);
	for (unsigned i = 0; i < 3; i++) {
		struct tg_ping run = { .size = 1 << (4 + 5 * i), .room = MANY,
				       .seconds = 5 };
		int to = types[i] == SOCK_DGRAM ? e.udp : e.listener;
		int fd = client(to, types[i], 900000);
		uint32_t ns[MANY] = { 0 };

		check_context("type %d", types[i]);
		CHECK_EQ(tg_ping(fd, ns, &run), 0);
		CHECK(run.done > 0 && run.done <= MANY);
		for (uint32_t at = 0; at < run.done; at++)
			CHECK(ns[at] > 0);
		close(fd);
	}
	eventfd_write(e.stop, 1);
	pthread_join(thread, NULL);
	CHECK_EQ(e.error, 0);
	close(e.udp);
	close(e.listener);
	close(e.stop);
}

TEST(a_lost_answer_is_counted_and_a_late_one_is_no_answer)
{
	struct tg_ping run = { .size = 64, .room = MANY, .seconds = 0.1 };
	int fd = server(SOCK_DGRAM), from = client(fd, SOCK_DGRAM, 10000);
	struct sockaddr_in name = name_of(from);
	uint64_t old[8] = { 1000000 };
	uint32_t ns[MANY];

	for (unsigned i = 0; i < 3; i++)
		CHECK_EQ(sendto(fd, old, sizeof(old), 0,
				(struct sockaddr *)&name, sizeof(name)),
			 (ssize_t)sizeof(old));
	CHECK_EQ(tg_ping(from, ns, &run), 0);
	CHECK_EQ(run.done, 0);
	CHECK(run.lost > 0);
	close(fd);
	close(from);
}

TEST(a_silent_connection_is_an_error)
{
	struct tg_ping run = { .size = 64, .room = MANY, .seconds = 5 };
	int fd = server(SOCK_STREAM), from = client(fd, SOCK_STREAM, 10000);
	uint32_t ns[MANY];

	CHECK_EQ(tg_ping(from, ns, &run), -ETIMEDOUT);
	close(from);
	close(fd);
}
