/* SPDX-License-Identifier: Apache-2.0
 *
 * What a capture shows: each packet once, as what became of it, with the bytes
 * that it had there and the time when it came there.
 */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "ecn.h"
#include "faulty_worker.h"

enum { RING = 1 << 20, PACKETS = 150 };

static uint8_t data[RING];

/* Packets that the records at one point of the way stand for, by verdict. */
static uint64_t shown(uint32_t used, uint8_t point, uint16_t verdict)
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

/* A worker that is captured; its records are read by records(). */
static struct worker *watched(uint8_t family, bool vnet)
{
	struct worker *w = worker_begin(family, vnet);
	size_t size = sizeof(struct capture) + sizeof(struct ring);
	struct capture *c = aligned_alloc(64, size);

	check_context("IPv%u, vnet header %d", family, vnet);
	CHECK(c);
	memset(c, 0, size);
	c->snaplen = 64;
	CHECK_EQ(ring_init(&c->rings[0], RING), 0);
	trace_turn(&w->trace, c);
	return w;
}

static uint32_t records(struct worker *w)
{
	struct ring *ring = &w->trace.capture->rings[0];

	CHECK_EQ(atomic_load(&ring->lost), 0);
	return ring_take(ring, data, RING);
}

static void end(struct worker *w)
{
	ring_free(&w->trace.capture->rings[0]);
	free(w->trace.capture);
	worker_end(w);
}

/* Outbound: what became of each packet, and each is there once. */
static void check_out_shown_once(uint8_t family, bool vnet)
{
	struct worker *w = watched(family, vnet);
	uint64_t unsent = 0;
	uint32_t used;

	kernel.percent[SENDMMSG] = 50;
	kernel.to_read = PACKETS;	/* in turns: datagrams are reused */
	run(w, outbound, &kernel.to_read);
	check_out(w);
	used = records(w);
	for (uint32_t i = 0; i < N_COUNTERS; i++) {
		uint64_t here = shown(used, VX_TO_UNDERLAY, i);

		if (vx_counter_kind(i) != VX_COUNT_DROP_OUT)
			continue;
		CHECK_EQ(here + shown(used, VX_FROM_TUN, i), counter(w, i));
		unsent += here;
	}
	CHECK(unsent > 0);
	CHECK(counter(w, COUNT_OUT_SENT) > 0);
	CHECK_EQ(shown(used, VX_TO_UNDERLAY, VX_PASSED),
		 counter(w, COUNT_OUT_SENT));
	end(w);
}

static void check_shown_once(uint8_t family, bool vnet)
{
	struct worker *w = watched(family, vnet);
	uint32_t used;

	kernel.percent[WRITEV] = 50;
	kernel.to_receive = PACKETS;
	run(w, inbound, &kernel.to_receive);
	check_in(w);
	used = records(w);
	CHECK(counter(w, DROP_IN_TUN_ERROR) > 0);
	CHECK_EQ(shown(used, VX_TO_TUN, DROP_IN_TUN_ERROR),
		 counter(w, DROP_IN_TUN_ERROR));
	CHECK(counter(w, COUNT_IN_WRITTEN) > 0);
	CHECK_EQ(shown(used, VX_TO_TUN, VX_PASSED),
		 counter(w, COUNT_IN_WRITTEN));
	end(w);
}

static void each(void (*check)(uint8_t family, bool vnet))
{
	check(4, true);
	check(4, false);
	check(6, true);
	check(6, false);
}

TEST(what_the_tun_refuses_is_not_shown_as_passed)
{
	each(check_shown_once);
}

TEST(what_a_socket_refuses_is_not_shown_as_passed)
{
	each(check_out_shown_once);
}

/* Of the records at one point, all of which are of packets. */
static void check_ecn(uint32_t used, uint8_t point, uint32_t headers,
		      uint8_t ecn)
{
	struct vx_record r;
	struct pkt p;

	for (uint32_t at = 0; at < used; at += r.size) {
		memcpy(&r, data + at, sizeof(r));
		if (r.point != point || r.verdict != VX_PASSED)
			continue;
		p.ip = data + at + sizeof(r) + headers;
		p.family = *p.ip >> 4;
		CHECK_EQ(pkt_tos(&p), ecn);
	}
	CHECK(shown(used, point, VX_PASSED) > 0);
}

static void check_marked_behind(uint8_t family, bool vnet)
{
	struct worker *w = watched(family, vnet);
	uint32_t used;

	kernel.ecn = ECT_0;
	kernel.outer_ecn = ECN_CE;
	kernel.to_receive = PACKETS;
	run(w, inbound, &kernel.to_receive);
	used = records(w);
	check_ecn(used, VX_FROM_UNDERLAY, sizeof(struct overlay), ECT_0);
	check_ecn(used, VX_TO_TUN, 0, ECN_CE);
	end(w);
}

TEST(a_datagram_is_shown_as_it_came_and_a_packet_as_it_went)
{
	each(check_marked_behind);
}

static uint64_t time_of_last(uint32_t used, uint8_t point)
{
	struct vx_record r;
	uint64_t time = 0;

	for (uint32_t at = 0; at < used; at += r.size) {
		memcpy(&r, data + at, sizeof(r));
		if (r.point == point)
			time = r.time;
	}
	CHECK(time > 0);
	return time;
}

/* Another worker may show the answer before the call returns. */
static void check_time(uint8_t family, bool vnet)
{
	struct worker *w = watched(family, vnet);

	kernel.to_read = kernel.to_receive = PACKETS;
	run(w, inbound, &kernel.to_receive);
	CHECK(time_of_last(records(w), VX_TO_TUN) <= kernel.wrote);
	run(w, outbound, &kernel.to_read);
	CHECK(time_of_last(records(w), VX_TO_UNDERLAY) <= kernel.sent);
	end(w);
}

TEST(what_went_on_has_the_time_before)
{
	each(check_time);
}
