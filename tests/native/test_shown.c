/* SPDX-License-Identifier: Apache-2.0
 *
 * A capture while the TUN refuses packets: each is shown once, as what became
 * of it.
 */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "faulty_worker.h"

enum { RING = 1 << 20, PACKETS = 150 };

/* Packets that the records at one point of the way stand for, by verdict. */
static uint64_t shown(const uint8_t *data, uint32_t used, uint8_t point,
		      uint16_t verdict)
{
	uint64_t packets = 0;
	struct vx_record r;

	for (uint32_t at = 0; at < used; at += r.size) {
		memcpy(&r, data + at, sizeof(r));
		if (r.point == point && r.verdict == verdict)
			packets += r.packets;
	}
	return packets;
}

static void check_shown_once(uint8_t family, bool vnet)
{
	struct capture *c = aligned_alloc(64, sizeof(*c) +
					      sizeof(c->rings[0]));
	struct worker *w = worker_begin(family, vnet);
	uint8_t *data = malloc(RING);
	uint32_t used;

	check_context("IPv%u, vnet header %d", family, vnet);
	CHECK(c && data);
	memset(c, 0, sizeof(*c) + sizeof(c->rings[0]));
	c->snaplen = 64;
	CHECK_EQ(ring_init(&c->rings[0], RING), 0);
	trace_turn(&w->trace, c);
	kernel.percent[WRITEV] = 50;
	kernel.to_receive = PACKETS;
	run(w, inbound, &kernel.to_receive);
	check_in(w);
	used = ring_take(&c->rings[0], data, RING);
	CHECK_EQ(atomic_load(&c->rings[0].lost), 0);
	CHECK(counter(w, DROP_IN_TUN_ERROR) > 0);
	CHECK_EQ(shown(data, used, VX_TO_TUN, DROP_IN_TUN_ERROR),
		 counter(w, DROP_IN_TUN_ERROR));
	CHECK(counter(w, COUNT_IN_WRITTEN) > 0);
	CHECK_EQ(shown(data, used, VX_TO_TUN, VX_PASSED),
		 counter(w, COUNT_IN_WRITTEN));
	ring_free(&c->rings[0]);
	worker_end(w);
	free(data);
	free(c);
}

TEST(what_the_tun_refuses_is_not_shown_as_passed)
{
	check_shown_once(4, true);
	check_shown_once(4, false);
	check_shown_once(6, true);
	check_shown_once(6, false);
}
