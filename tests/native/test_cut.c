/* SPDX-License-Identifier: Apache-2.0
 *
 * What outbound() cuts: super-packets with at most SEGMENT_HEADER_MAX bytes of
 * headers, which each segment repeats; more would make one read cost too much.
 */
#include "check.h"
#include "faulty_worker.h"
#include "segment.h"

enum { HEADERS = 40 + 8, FIT = (SEGMENT_HEADER_MAX - HEADERS) / 8 };

/* Packets of which some are super-packets, with so many options each. */
static struct worker *turn(uint8_t n_options)
{
	struct worker *w = worker_begin(6, true);

	kernel.n_options = n_options;
	kernel.to_read = 100;
	run(w, outbound, &kernel.to_read);
	CHECK_EQ(drops(w, VX_COUNT_DROP_OUT),
		 counter(w, DROP_OUT_NO_ROUTE) +
		 counter(w, DROP_OUT_BAD_HEADER));
	return w;
}

TEST(headers_that_fit_are_repeated)
{
	struct worker *w = turn(FIT);

	check_out(w);
	CHECK_EQ(counter(w, DROP_OUT_BAD_HEADER), 0);
	worker_end(w);
}

TEST(longer_ones_are_refused_with_their_packet)
{
	struct worker *w = turn(FIT + 1);

	CHECK(counter(w, DROP_OUT_BAD_HEADER) > 0);
	CHECK_EQ(counter(w, COUNT_OUT_SENT), kernel.taken);
	worker_end(w);
}
