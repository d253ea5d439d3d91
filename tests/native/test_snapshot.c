/* SPDX-License-Identifier: Apache-2.0
 *
 * snapshot: a table is freed when every reader has passed a quiet point, not
 * before and not much later.  Meant for TSan and ASan alike.
 */
#include "check.h"
#include "snapshot.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

enum { READERS = 3, COMMITS = 4000, MOST = 1000000, PEERS = 20 };

static struct snapshot shared;
static _Atomic bool stop;
static _Atomic uint64_t turns[READERS];

/* A table all of whose peers carry the number of its version. */
static struct table *version(uint32_t v)
{
	struct vx_settings s = { .family = 4, .port = 8472 };
	struct vx_peer peers[PEERS] = { 0 };
	struct vx_route routes[PEERS] = { 0 };
	struct table *t;
	int error;

	for (uint8_t i = 0; i < PEERS; i++) {
		peers[i].mac[5] = i;
		memcpy(peers[i].mac, &v, sizeof(v));
		peers[i].outer[3] = i;
		routes[i] = (struct vx_route){ .prefix = { 10, i },
					       .length = 16, .peer = i };
	}
	t = table_build(&s, peers, PEERS, routes, PEERS, &error);
	CHECK(t);
	return t;
}

static uint32_t version_of(const struct table *t, uint8_t i)
{
	const uint8_t dst[4] = { 10, i % PEERS, 1, 1 };
	const struct peer *p = table_lookup(t, dst);
	uint32_t v;

	CHECK(p);
	CHECK_EQ(p->overlay.eth.dst[5], i % PEERS);
	memcpy(&v, p->overlay.eth.dst, sizeof(v));
	return v;
}

static struct snapshot *snapshot_with(uint32_t readers)
{
	struct snapshot *s = aligned_alloc(_Alignof(struct snapshot),
					   sizeof(*s));

	CHECK(s);
	memset(s, 0, sizeof(*s));
	s->n_readers = readers;
	for (uint32_t i = 0; i < readers; i++)
		snapshot_leave(&s->readers[i]);
	snapshot_publish(s, version(0));
	return s;
}

static void drop(struct snapshot *s)
{
	snapshot_free(s);
	free(s);
}

TEST(idle_readers_hold_nothing)
{
	struct snapshot *s = snapshot_with(READERS);

	for (uint32_t v = 1; v < 50; v++) {
		snapshot_publish(s, version(v));
		CHECK(!s->retired);
		CHECK_EQ(snapshot_reap(s), 0);
	}
	drop(s);
}

TEST(a_reader_keeps_its_table)
{
	struct snapshot *s = snapshot_with(2);
	struct reader *a = &s->readers[0], *b = &s->readers[1];
	const struct table *ta = snapshot_read(s, a), *tb;

	snapshot_publish(s, version(1));
	CHECK_EQ(snapshot_reap(s), 1);
	CHECK_EQ(version_of(ta, 3), 0);
	tb = snapshot_read(s, b);
	CHECK_EQ(version_of(tb, 3), 1);
	snapshot_publish(s, version(2));
	/* a holds 0, b holds 1. */
	CHECK_EQ(snapshot_reap(s), 2);
	CHECK_EQ(version_of(ta, 4), 0);
	CHECK_EQ(version_of(tb, 4), 1);
	/* While a reads, nothing newer is freed either. */
	snapshot_leave(b);
	CHECK_EQ(snapshot_reap(s), 2);
	CHECK_EQ(version_of(ta, 5), 0);
	ta = snapshot_read(s, a);
	CHECK_EQ(version_of(ta, 5), 2);
	CHECK_EQ(snapshot_reap(s), 0);
	drop(s);
}

TEST(oldest_are_freed_first)
{
	struct snapshot *s = snapshot_with(2);
	const struct table *t;

	snapshot_read(s, &s->readers[0]);
	for (uint32_t v = 1; v <= 5; v++)
		snapshot_publish(s, version(v));
	CHECK_EQ(snapshot_reap(s), 5);
	/* This one is at 5, but the other still at 0. */
	t = snapshot_read(s, &s->readers[1]);
	CHECK_EQ(snapshot_reap(s), 5);
	snapshot_read(s, &s->readers[0]);
	snapshot_publish(s, version(6));
	snapshot_publish(s, version(7));
	/* 0 to 4 went; 5 and 6 could be read. */
	CHECK_EQ(snapshot_reap(s), 2);
	CHECK_EQ(version_of(t, 1), 5);
	snapshot_leave(&s->readers[0]);
	snapshot_leave(&s->readers[1]);
	CHECK_EQ(snapshot_reap(s), 0);
	CHECK_EQ(version_of(atomic_load(&s->table), 1), 7);
	drop(s);
}

/* What is still held when all ends is freed: LeakSanitizer is the judge. */
TEST(the_end_frees_all)
{
	struct snapshot *s = snapshot_with(1);

	snapshot_read(s, &s->readers[0]);
	for (uint32_t v = 1; v <= 9; v++)
		snapshot_publish(s, version(v));
	CHECK_EQ(snapshot_reap(s), 9);
	snapshot_leave(&s->readers[0]);
	drop(s);
}

/* As a worker lives: turns with a table, sleep now and then. */
static void *read_on(void *reader)
{
	struct reader *r = reader;
	_Atomic uint64_t *n = &turns[r - shared.readers];
	uint32_t last = 0;

	while (!atomic_load(&stop)) {
		const struct table *t = snapshot_read(&shared, r);
		uint64_t turn = atomic_fetch_add(n, 1);
		uint32_t v = version_of(t, 0);

		/* With a table in hand, so that one must wait for it even
		 * where all threads share a CPU. */
		if (turn % 8 == 3)
			sched_yield();
		for (uint8_t i = 0; i < 2 * PEERS; i++)
			CHECK_EQ(version_of(t, i), v);
		/* Tables only become newer. */
		CHECK(v >= last);
		last = v;
		if (turn % 8 == 7) {
			snapshot_leave(r);
			sched_yield();
		}
	}
	snapshot_leave(r);
	return NULL;
}

/* Commits table v; how many older ones are still held. */
static uint32_t commit(uint32_t v)
{
	snapshot_publish(&shared, version(v));
	if (v % 16 == 0)
		sched_yield();
	return snapshot_reap(&shared);
}

static bool all_turned(void)
{
	for (uint32_t i = 0; i < READERS; i++)
		if (atomic_load(&turns[i]) < 100)
			return false;
	return true;
}

TEST(readers_beside_a_writer)
{
	pthread_t threads[READERS];
	uint32_t v = 0, waited = 0;

	shared.n_readers = READERS;
	for (uint32_t i = 0; i < READERS; i++)
		snapshot_leave(&shared.readers[i]);
	snapshot_publish(&shared, version(0));
	for (uint32_t i = 0; i < READERS; i++)
		CHECK(!pthread_create(&threads[i], NULL, read_on,
				      &shared.readers[i]));
	/* Until readers were seen to hold tables, or nothing was tested. */
	while (v < COMMITS || ((!waited || !all_turned()) && v < MOST))
		waited += commit(++v);
	CHECK(waited > 0 && all_turned());
	/* Readers that go on let go of everything but the newest. */
	for (unsigned i = 0; snapshot_reap(&shared) && i < 1000000; i++)
		sched_yield();
	CHECK_EQ(snapshot_reap(&shared), 0);
	atomic_store(&stop, true);
	for (uint32_t i = 0; i < READERS; i++)
		CHECK(!pthread_join(threads[i], NULL));
	CHECK_EQ(version_of(atomic_load(&shared.table), 0), v);
	snapshot_free(&shared);
}
