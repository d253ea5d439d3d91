/* SPDX-License-Identifier: Apache-2.0
 *
 * Which turns are worth a pause: those that moved a lot, or many.
 */
#include "bulk.h"
#include "check.h"

static bool pauses(unsigned packets, uint32_t bytes)
{
	struct bulk b = { 0 };

	while (packets--)
		bulk_add(&b, bytes);
	return bulk_take(&b);
}

TEST(what_waits_for_an_answer_never_pauses)
{
	CHECK(!pauses(0, 0));
	CHECK(!pauses(1, 64));
	CHECK(!pauses(1, 9000));
	CHECK(!pauses(4, 1500));
}

TEST(a_super_packet_pauses)
{
	CHECK(pauses(1, 64 << 10));
}

TEST(many_small_ones_pause)
{
	CHECK(!pauses(8, 64));
	CHECK(pauses(16, 64));
}

TEST(each_turn_counts_for_itself)
{
	struct bulk b = { 0 };

	bulk_add(&b, 64 << 10);
	CHECK(bulk_take(&b));
	CHECK(!bulk_take(&b));
	bulk_add(&b, 64);
	CHECK(!bulk_take(&b));
}
