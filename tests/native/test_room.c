/* SPDX-License-Identifier: Apache-2.0
 *
 * A full underlay socket: the device gets a moment, once for a batch, and what
 * has room after it is sent, although poll() saw none.
 */
#include "check.h"
#include "faulty_worker.h"

enum { PACKETS = 50 };

/* One turn, while so many sends find no room. */
static struct worker *turn(uint8_t family, uint32_t full)
{
	struct worker *w = worker_begin(family, false);	/* one flush */

	kernel.full = full;
	kernel.no_room = true;
	kernel.to_read = PACKETS;
	run(w, outbound, &kernel.to_read);
	check_out(w);
	return w;
}

static void check_room_in_time(uint8_t family)
{
	struct worker *w = turn(family, 1);

	CHECK_EQ(kernel.calls[POLL], 1);
	CHECK_EQ(counter(w, DROP_OUT_SOCKET_FULL), 0);
	worker_end(w);
}

TEST(what_has_room_after_a_moment_is_sent)
{
	check_room_in_time(4);
	check_room_in_time(6);
}

/* Of several sockets, whose packets are one batch. */
static void check_one_moment(uint8_t family)
{
	struct worker *w = turn(family, UINT32_MAX);

	CHECK(kernel.calls[SENDMMSG] > 4);
	CHECK_EQ(kernel.calls[POLL], 1);
	CHECK_EQ(counter(w, COUNT_OUT_SENT), 0);
	worker_end(w);
}

TEST(a_batch_waits_for_all_its_sockets_together)
{
	check_one_moment(4);
	check_one_moment(6);
}
