/* SPDX-License-Identifier: Apache-2.0
 *
 * What a worker wakes for: all that is ready is told, wherever the socket is
 * watched, and it is the epoll's but for trains of datagrams.
 */
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "watch.h"

enum { TUNS = 3, THINGS = TUNS + 2, SOCKET = 1u << EVENT_SOCKET,
       STOP = 1u << EVENT_STOP };

/* Socket pairs for all: one end is watched, the other is written to. */
struct world {
	struct watch watch;
	int read[THINGS], write[THINGS];
	unsigned bit[THINGS];
};

static void begin(struct world *w)
{
	for (int i = 0; i < THINGS; i++) {
		int ends[2];

		CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) == 0);
		w->read[i] = ends[0];
		w->write[i] = ends[1];
		w->bit[i] = 1u << i;
	}
	w->bit[TUNS] = SOCKET;
	w->bit[TUNS + 1] = STOP;
	CHECK_EQ(watch_init(&w->watch, w->read, TUNS, w->read[TUNS],
			    w->read[TUNS + 1]), 0);
}

static void end(struct world *w)
{
	watch_free(&w->watch);
	for (int i = 0; i < THINGS; i++) {
		close(w->read[i]);
		close(w->write[i]);
	}
}

/* Whether the epoll itself has the socket: told without watch_look(). */
static bool epoll_has_socket(struct world *w)
{
	struct pollfd p = { .fd = w->watch.epoll, .events = POLLIN };
	char c;
	bool has;

	CHECK_EQ(write(w->write[TUNS], "", 1), 1);
	has = poll(&p, 1, 0) == 1;
	CHECK_EQ(read(w->read[TUNS], &c, 1), 1);
	return has;
}

/* Makes some of it ready, looks, and takes it away again. */
static void check_told(struct world *w)
{
	unsigned want = 0, ready = 0;
	bool any;
	char c;

	for (int i = 0; i < THINGS; i++)
		if (rnd_chance(40)) {
			CHECK_EQ(write(w->write[i], "", 1), 1);
			want |= w->bit[i];
		}
	any = watch_look(&w->watch, want ? 1000 : 0, &ready);
	CHECK_EQ(ready, want);
	CHECK_EQ(any, want != 0);
	for (int i = 0; i < THINGS; i++)
		if (want & w->bit[i])
			CHECK_EQ(read(w->read[i], &c, 1), 1);
}

TEST(all_that_is_ready_is_told_and_nothing_else)
{
	struct world w;
	unsigned moved = 0;
	bool apart = false;

	begin(&w);
	for (int i = 0; i < 4000; i++) {
		watch_received(&w.watch, rnd_chance(3) ? TRAIN : TRAIN - 1);
		check_told(&w);
		moved += apart != w.watch.apart;
		apart = w.watch.apart;
	}
	CHECK(moved > 20);
	end(&w);
}

TEST(the_socket_is_apart_while_datagrams_come_in_trains)
{
	struct world w;
	unsigned ready;

	begin(&w);
	watch_received(&w.watch, TRAIN - 1);
	CHECK(!watch_look(&w.watch, 0, &ready));
	CHECK(epoll_has_socket(&w));
	watch_received(&w.watch, TRAIN);
	CHECK(!watch_look(&w.watch, 0, &ready));
	CHECK(!epoll_has_socket(&w));
	for (int i = 0; i < TRAIN_LASTS - 1; i++)
		watch_received(&w.watch, 1);
	CHECK(!watch_look(&w.watch, 0, &ready));
	CHECK(!epoll_has_socket(&w));
	watch_received(&w.watch, 1);
	CHECK(!watch_look(&w.watch, 0, &ready));
	CHECK(epoll_has_socket(&w));
	end(&w);
}

TEST(a_train_ends_with_sleeps_too)
{
	struct world w;
	unsigned ready;

	begin(&w);
	watch_received(&w.watch, TRAIN);
	for (int i = 0; i < TRAIN_LASTS; i++) {
		CHECK(!watch_look(&w.watch, 0, &ready));
		CHECK(!epoll_has_socket(&w));
		CHECK(!watch_look(&w.watch, 1, &ready));
	}
	CHECK(epoll_has_socket(&w));
	end(&w);
}

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void *write_later(void *fd)
{
	poll(NULL, 0, 20);
	CHECK_EQ(write(*(int *)fd, "", 1), 1);
	return NULL;
}

/* Nothing is there, then one thing comes: it sleeps, and is woken. */
static void check_woken(struct world *w, int i, int train)
{
	pthread_t writer;
	uint64_t began = now_us();
	unsigned ready;
	char c;

	watch_received(&w->watch, train);
	CHECK(!watch_look(&w->watch, 20, &ready));
	CHECK(now_us() - began >= 20000);
	CHECK_EQ(pthread_create(&writer, NULL, write_later, &w->write[i]), 0);
	CHECK(watch_look(&w->watch, 60000, &ready));
	CHECK_EQ(ready, w->bit[i]);
	CHECK_EQ(w->watch.apart, train >= TRAIN);
	pthread_join(writer, NULL);
	CHECK_EQ(read(w->read[i], &c, 1), 1);
}

TEST(it_sleeps_until_there_is_something)
{
	struct world w;

	for (int train = 1; train <= TRAIN; train += TRAIN - 1) {
		begin(&w);
		for (int i = 0; i < THINGS; i++)
			check_woken(&w, i, train);
		end(&w);
	}
}

TEST(what_is_gone_is_left_alone)
{
	struct world w;
	unsigned ready = 0;

	for (int train = 1; train <= TRAIN; train += TRAIN - 1) {
		begin(&w);
		watch_received(&w.watch, train);
		close(w.write[0]);
		shutdown(w.read[0], SHUT_RDWR);
		CHECK(watch_look(&w.watch, 0, &ready));
		CHECK_EQ(ready, 1);
		CHECK(!watch_look(&w.watch, 0, &ready));
		CHECK_EQ(ready, 0);
		w.write[0] = dup(w.read[0]);
		end(&w);
	}
}
