/* SPDX-License-Identifier: Apache-2.0
 *
 * When a worker looks for packets, and when it sleeps: as patience.h says.
 */
#include "check.h"
#include "patience.h"

enum { US = 1000, MOST = 50 * US };

static bool looks(const struct patience *p)
{
	return patience_left(p, 0);
}

static void learn(struct patience *p, uint64_t gap, unsigned times)
{
	while (times--)
		patience_learn(p, gap);
}

TEST(nobody_looks_before_packets_have_come_close_on_each_other)
{
	struct patience p;

	patience_init(&p, MOST, true);
	CHECK(!looks(&p));
	learn(&p, 20 * US, 1);
	CHECK(!looks(&p));
	learn(&p, 20 * US, 20);
	CHECK(looks(&p));
}

TEST(looking_ends)
{
	struct patience p;

	patience_init(&p, MOST, true);
	learn(&p, 20 * US, 20);
	CHECK(patience_left(&p, MOST - 1));
	CHECK(!patience_left(&p, MOST));
}

TEST(one_pause_is_forgiven_and_a_quiet_node_sleeps_at_once)
{
	struct patience p;

	patience_init(&p, MOST, true);
	learn(&p, US, 20);
	learn(&p, 1000 * 1000 * US, 1);
	learn(&p, US, 2);
	CHECK(looks(&p));
	learn(&p, 1000 * 1000 * US, 3);
	CHECK(!looks(&p));
	/* However long it was quiet, it takes few packets to begin again. */
	learn(&p, 1000 * 1000 * US, 1000);
	learn(&p, US, 8);
	CHECK(looks(&p));
}

TEST(nobody_looks_while_there_is_bulk)
{
	struct patience p;

	patience_init(&p, MOST, true);
	learn(&p, US, 20);
	for (int i = 0; i < 100; i++)
		patience_carried(&p, LARGE - 1, 8);
	CHECK(looks(&p));
	CHECK(!patience_gathers(&p));
	patience_carried(&p, LARGE, 8);
	patience_carried(&p, LARGE, 8);
	CHECK(!looks(&p));
	CHECK(patience_gathers(&p));
	learn(&p, US, 1);
	CHECK(!looks(&p));
	CHECK(!patience_gathers(&p));
	patience_carried(&p, LARGE, 8);
	CHECK(patience_gathers(&p));
	learn(&p, US, BULK_WAITS - 2);
	CHECK(!looks(&p));
	learn(&p, US, 1);
	CHECK(looks(&p));
}

TEST(large_answers_one_by_one_are_no_bulk)
{
	struct patience p;

	patience_init(&p, MOST, true);
	for (int i = 0; i < 100; i++) {
		patience_carried(&p, LARGE, 8);
		CHECK(!patience_gathers(&p));
		learn(&p, US, 1);
	}
	CHECK(looks(&p));
}

static void carry(struct patience *p, uint32_t queue)
{
	patience_carried(p, LARGE, queue);
	patience_carried(p, LARGE, queue);
}

TEST(small_packets_pause_beside_the_bulk_of_another_queue)
{
	struct patience p;

	patience_init(&p, MOST, true);
	CHECK(!patience_beside(&p, 16));
	carry(&p, 8);
	CHECK(!patience_beside(&p, 8));
	CHECK(patience_beside(&p, 16));
	/* It ends some pauses after the bulk, also where nobody runs dry. */
	for (unsigned i = 0; i < BULK_WAITS; i++) {
		CHECK(patience_beside(&p, 16));
		patience_waited(&p);
	}
	CHECK(!patience_beside(&p, 16));
	/* One large packet after a pause is no bulk. */
	for (unsigned i = 0; i < 2 * BULK_WAITS; i++) {
		patience_waited(&p);
		patience_carried(&p, LARGE, 8);
	}
	CHECK(!patience_beside(&p, 16));
}

TEST(bulk_does_not_pause_beside_bulk)
{
	struct patience p;

	patience_init(&p, MOST, true);
	carry(&p, 8);
	carry(&p, 16);
	CHECK(!patience_beside(&p, 8));
	CHECK(!patience_beside(&p, 16));
	/* A queue that had bulk once is not spared for ever. */
	for (unsigned i = 0; i < 2 * BULK_WAITS; i++) {
		carry(&p, 8);
		patience_waited(&p);
	}
	CHECK(!patience_beside(&p, 8));
	CHECK(patience_beside(&p, 16));
}

TEST(what_is_received_slows_nothing_down)
{
	struct patience p;

	patience_init(&p, MOST, true);
	carry(&p, 0);
	CHECK(!patience_beside(&p, 16));	/* acknowledgements, say */
	carry(&p, 8);
	carry(&p, 0);
	CHECK(patience_beside(&p, 16));
}

TEST(zero_is_never)
{
	struct patience p;

	patience_init(&p, 0, true);
	CHECK(!looks(&p));
	learn(&p, 0, 20);
	CHECK(!looks(&p));
}

TEST(many_small_segments_are_a_flood_and_a_few_are_not)
{
	CHECK(patience_is_flood(28 + 17 * 100, 100));
	CHECK(!patience_is_flood(28 + 15 * 100, 100));
	CHECK(!patience_is_flood(60000, SMALL_SEGMENT));
	CHECK(!patience_is_flood(60000, 0));
}
