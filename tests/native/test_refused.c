/* SPDX-License-Identifier: Apache-2.0
 *
 * UDP_SEGMENT refused (EIO): by the device, or for one peer.
 */
#include "check.h"
#include "faulty_worker.h"

static void check_no_segments(uint8_t family)
{
	struct worker *w = worker_begin(family, true);

	kernel.no_segment = true;
	kernel.to_read = 500;
	run(w, outbound, &kernel.to_read);
	check_out(w);
	CHECK_EQ(drops(w, VX_COUNT_DROP_OUT), counter(w, DROP_OUT_NO_ROUTE));
	CHECK(!atomic_load(&w->sender.segment));
	worker_end(w);
}

TEST(a_device_that_refuses_segments_gets_every_datagram_by_itself)
{
	check_no_segments(4);
	check_no_segments(6);
}

/* What goes to it is encrypted, say: the others keep their batches, and it is
 * asked again after a minute. */
static void check_no_segments_to_one(uint8_t family)
{
	struct worker *w = worker_begin(family, true);

	kernel.no_segment_to = 2;
	for (int second = 0; second < 60; second++) {
		w->sender.now = second * 1000;
		kernel.to_read = 50;
		run(w, outbound, &kernel.to_read);
		check_out(w);
	}
	CHECK_EQ(counter(w, COUNT_OUT_GSO_REFUSED), 1);
	CHECK_EQ(drops(w, VX_COUNT_DROP_OUT), counter(w, DROP_OUT_NO_ROUTE));
	CHECK(kernel.segmented > 60);
	CHECK(atomic_load(&w->sender.segment));
	w->sender.now = 61000;
	kernel.to_read = 50;
	run(w, outbound, &kernel.to_read);
	CHECK_EQ(counter(w, COUNT_OUT_GSO_REFUSED), 2);
	worker_end(w);
}

TEST(a_peer_that_takes_no_segments_costs_the_others_none)
{
	check_no_segments_to_one(4);
	check_no_segments_to_one(6);
}
