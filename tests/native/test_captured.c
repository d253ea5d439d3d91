/* SPDX-License-Identifier: Apache-2.0
 *
 * Captures that come and go while packets flow: none is lost for it, every
 * record is whole, and what has ended is freed when no worker sees it.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "counters.h"
#include "loadnet.h"
#include "wire.h"

enum { ROUNDS = 60, SNAPLEN = 200, BUFFER = 1 << 18, ALL_OFFLOADS = 63,
       SOURCE_PORT_MIN = 49152 };

static uint8_t buffer[BUFFER];

/* Checks the records in the buffer; how many there are. */
static uint32_t check_records(uint32_t used, uint8_t point)
{
	struct vx_record r;
	uint32_t n = 0;

	for (uint32_t at = 0; at < used; at += r.size, n++) {
		memcpy(&r, buffer + at, sizeof(r));
		CHECK(r.size >= sizeof(r) + r.kept && r.size % 8 == 0);
		CHECK(r.size < sizeof(r) + r.kept + 8);
		CHECK(r.kept <= SNAPLEN && r.kept <= r.length);
		CHECK_EQ(r.point, point);
		CHECK(r.packets >= 1);
		/* The kernel's own multicast is dropped, on its way out. */
		if (r.verdict == DROP_OUT_MULTICAST && point == VX_FROM_TUN)
			continue;
		CHECK_EQ(r.verdict, VX_PASSED);
		CHECK(point == VX_TO_TUN || r.outer[0] == 127 ||
		      r.outer[1] == 127);	/* fd7f::k */
		CHECK((r.port != 0) == (point == VX_TO_UNDERLAY ||
					point == VX_FROM_UNDERLAY));
		CHECK(point != VX_TO_UNDERLAY || r.port >= SOURCE_PORT_MIN);
	}
	return n;
}

static uint32_t take(struct vx_plane *plane, uint8_t point)
{
	uint64_t lost;

	return check_records(vx_plane_captured(plane, buffer, BUFFER, &lost),
			     point);
}

/* One capture at one point of the way; its records. */
static uint32_t capture(struct vx_plane *plane, uint8_t point)
{
	struct vx_test only = { .what = VX_TEST_POINT, .low = point,
				.high = point };
	uint32_t n = 0;
	int error;

	do	/* the one before has only just ended */
		error = vx_plane_capture(plane, &only, 1, SNAPLEN, 1 << 16);
	while (error == -EBUSY && poll(NULL, 0, 1) == 0);
	CHECK_EQ(error, 0);
	CHECK_EQ(vx_plane_capture(plane, &only, 1, SNAPLEN, 1 << 16), -EBUSY);
	for (unsigned i = 0; i < 3; i++) {
		poll(NULL, 0, 1);
		n += take(plane, point);
	}
	vx_plane_capture_end(plane);
	CHECK_EQ(take(plane, point), 0);
	vx_plane_capture_end(plane);
	return n;
}

static void captures_come_and_go_under_load(uint8_t family)
{
	static struct vx_peer peers[NODES];
	static struct vx_route routes[NODES];
	static struct node nodes[NODES];
	_Atomic bool stop = false;
	uint32_t seen[4] = { 0 };
	struct vx_plane *plane;

	if (!loadnet_enter(family))
		return;
	plane = loadnet_plane(ALL_OFFLOADS, 2);
	for (uint32_t i = 0; i < NODES; i++) {
		loadnet_node(i + 1, &peers[i], &routes[i]);
		routes[i].peer = i;
		peers[i].slot = i + 1;
	}
	CHECK_EQ(vx_plane_commit(plane, peers, NODES, routes, NODES), 0);
	for (uint32_t i = 0; i < NODES; i++)
		loadnet_start(&nodes[i], i + 1, &stop);
	for (uint32_t i = 0; i < ROUNDS; i++)
		seen[i % 4] += capture(plane, i % 4);
	stop = true;
	for (uint32_t i = 0; i < NODES; i++) {
		uint32_t slot = i + 1;
		struct vx_peer_traffic t;

		loadnet_join(&nodes[i]);
		CHECK_EQ(nodes[i].lost, 0);
		vx_plane_peers(plane, &slot, 1, &t);
		CHECK_EQ(t.out_packets, nodes[i].sent);
		CHECK_EQ(t.in_packets, nodes[i].sent);
		CHECK(t.heard > 0);
	}
	for (uint32_t point = 0; point < 4; point++)
		CHECK(seen[point] > 0);
	check_records(vx_plane_drops(plane, buffer, BUFFER), VX_FROM_TUN);
	vx_plane_free(plane);
	printf("IPv%u: %u captures, %u packets seen\n", family, ROUNDS,
	       seen[0] + seen[1] + seen[2] + seen[3]);
}

TEST(of_each_family)
{
	captures_come_and_go_under_load(IPV4);
	captures_come_and_go_under_load(IPV6);
}
