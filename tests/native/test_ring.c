/* SPDX-License-Identifier: Apache-2.0
 *
 * The ring of records: whole, in order, or counted as lost; with a reader
 * beside the writer.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "ring.h"

enum { SIZE = 4096, RECORDS = 200000 };

/* A record of any length that says what must be in it. */
static bool put(struct ring *r, uint32_t number, uint32_t len)
{
	uint32_t head[2] = { 8 + len + -len % RING_ALIGN, number };
	uint8_t body[300], padding[RING_ALIGN] = { 0 };
	struct iovec pieces[] = { { head, sizeof(head) },
				  { body, len / 2 },
				  { body + len / 2, len - len / 2 },
				  { padding, -len % RING_ALIGN } };

	for (uint32_t i = 0; i < len; i++)
		body[i] = (uint8_t)(number + i);
	return ring_put(r, pieces, 4, head[0]);
}

/* Checks the records in buf; the number that comes after the last one. */
static uint32_t take_all(const uint8_t *buf, uint32_t len, uint32_t next,
			 bool gaps)
{
	uint32_t head[2];

	for (uint32_t at = 0; at < len; at += head[0]) {
		memcpy(head, buf + at, sizeof(head));
		CHECK(head[0] >= 8 && head[0] % RING_ALIGN == 0);
		CHECK(gaps ? head[1] >= next : head[1] == next);
		next = head[1] + 1;
		if (head[0] > 8)
			CHECK_EQ(buf[at + 8], (uint8_t)head[1]);
	}
	return next;
}

TEST(what_goes_in_comes_out_whole_and_in_order)
{
	uint8_t *buf = malloc(SIZE);
	uint32_t next = 0, taken = 0;
	struct ring r;

	CHECK(buf);
	CHECK_EQ(ring_init(&r, SIZE), 0);
	for (unsigned round = 0; round < 3000; round++) {
		for (uint32_t n = rnd_below(12); n--;)
			CHECK(put(&r, next++, (uint32_t)rnd_below(290)));
		while (taken < next) {
			uint32_t len = ring_take(&r, buf, 320 +
						 (uint32_t)rnd_below(900));

			CHECK(len);
			taken = take_all(buf, len, taken, false);
		}
	}
	CHECK_EQ(ring_take(&r, buf, SIZE), 0);
	CHECK_EQ(r.lost, 0);
	ring_free(&r);
	free(buf);
}

TEST(without_room_a_record_is_lost_and_no_other)
{
	uint8_t buf[SIZE];
	struct ring r;
	uint32_t n;

	CHECK_EQ(ring_init(&r, SIZE), 0);
	for (n = 0; put(&r, n, 100); n++)
		;
	CHECK_EQ(n, SIZE / 112);
	CHECK_EQ(r.lost, 1);
	CHECK_EQ(ring_take(&r, buf, 111), 0);
	CHECK_EQ(ring_take(&r, buf, 112), 112);
	CHECK(put(&r, n, 100));
	CHECK_EQ(take_all(buf, ring_take(&r, buf, SIZE), 1, false), n + 1);
	ring_free(&r);
}

struct job {
	struct ring ring;
	_Atomic bool done;
	uint32_t put;
};

static void *write_all(void *job)
{
	struct job *j = job;

	for (uint32_t i = 0; i < RECORDS; i++)
		j->put += put(&j->ring, i, i % 97);
	atomic_store(&j->done, true);
	return NULL;
}

static uint32_t records(const uint8_t *buf, uint32_t len)
{
	uint32_t size, n = 0;

	for (uint32_t at = 0; at < len; at += size, n++)
		memcpy(&size, buf + at, sizeof(size));
	return n;
}

TEST(a_reader_beside_the_writer_misses_nothing_but_what_is_lost)
{
	static struct job j;
	uint8_t buf[SIZE];
	uint32_t next = 0, got = 0, len;
	pthread_t writer;
	bool done;

	CHECK_EQ(ring_init(&j.ring, SIZE), 0);
	CHECK_EQ(pthread_create(&writer, NULL, write_all, &j), 0);
	do {
		done = atomic_load(&j.done);
		len = ring_take(&j.ring, buf, SIZE);
		next = take_all(buf, len, next, true);
		got += records(buf, len);
	} while (len || !done);
	pthread_join(writer, NULL);
	CHECK_EQ(got, j.put);
	CHECK_EQ(got + j.ring.lost, RECORDS);
	ring_free(&j.ring);
}
