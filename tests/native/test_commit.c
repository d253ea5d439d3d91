/* SPDX-License-Identifier: Apache-2.0
 *
 * Commits while packets flow: no packet to a peer that stays is lost or
 * misdirected, and no table is kept or freed too early (ASan, TSan).
 * FWD_TEST_COMMITS: how many; `make commits` has 10,000 of each
 * flavour.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "counters.h"
#include "loadnet.h"
#include "wire.h"

#ifdef __SANITIZE_THREAD__
enum { COMMITS = 1000 };	/* 25 ms each */
#else
enum { COMMITS = 10000 };
#endif
enum { LEASES = 5000, ALL_OFFLOADS = 63 };

static struct vx_peer peers[LEASES];
static struct vx_route routes[LEASES];

/* The leases that come and go: other MACs and addresses each time. */
static void change(uint32_t round)
{
	for (uint32_t i = NODES; i < LEASES; i++)
		loadnet_lease(i, i + round, &peers[i], &routes[i]);
}

static uint64_t sum_drops(const uint64_t *v, int kind)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < vx_counter_count(); i++)
		if (vx_counter_kind(i) == kind)
			sum += v[i];
	return sum;
}

static void check_counters(struct vx_plane *plane)
{
	uint64_t v[N_COUNTERS];

	CHECK_EQ(vx_plane_counters(plane, -1, v, N_COUNTERS), 0);
	CHECK_EQ(v[COUNT_OUT_PACKETS],
		 v[COUNT_OUT_SENT] + sum_drops(v, VX_COUNT_DROP_OUT));
	CHECK_EQ(v[COUNT_IN_PACKETS],
		 v[COUNT_IN_WRITTEN] + sum_drops(v, VX_COUNT_DROP_IN));
	CHECK_EQ(sum_drops(v, VX_COUNT_DROP_IN), 0);
}

static void commit(struct vx_plane *plane, uint32_t round)
{
	change(round);
	CHECK_EQ(vx_plane_set_mtu(plane, VX_MIN_MTU - 1), -EINVAL);
	CHECK_EQ(vx_plane_set_mtu(plane, 1400 + round % 64), 0);
	/* A few leases leave and come back. */
	CHECK_EQ(vx_plane_commit(plane, peers, LEASES, routes,
				 LEASES - round % 64), 0);
}

static void commits_under_load(uint8_t family, uint32_t commits)
{
	_Atomic bool stop = false;
	struct node nodes[NODES];
	uint64_t echoed = 0, reordered = 0;
	struct vx_plane *plane;

	if (!loadnet_enter(family))
		return;
	plane = loadnet_plane(ALL_OFFLOADS, 2);
	for (uint32_t i = 0; i < NODES; i++) {
		loadnet_node(i + 1, &peers[i], &routes[i]);
		routes[i].peer = i;
	}
	commit(plane, 0);
	for (uint32_t i = 0; i < NODES; i++)
		loadnet_start(&nodes[i], i + 1, &stop);
	for (uint32_t round = 1; round <= commits; round++)
		commit(plane, round);
	CHECK(vx_plane_retired(plane) <= 2 * VX_MAX_WORKERS);
	stop = true;
	for (uint32_t i = 0; i < NODES; i++) {
		struct node *n = &nodes[i];

		loadnet_join(n);
		CHECK_EQ(n->misdirected, 0);
		CHECK_EQ(n->lost, 0);
		CHECK(n->sent > WINDOW);
		echoed += n->echoed;
		reordered += n->reordered;
	}
	CHECK_EQ(vx_plane_retired(plane), 0);
	check_counters(plane);
	vx_plane_free(plane);
	/* Order is not asserted: a thread that the scheduler moves leaves
	 * packets in the loopback's queue of the other CPU. */
	printf("IPv%u: %u commits of %u leases, %llu packets there and back, "
	       "%llu out of order\n", family, commits, LEASES,
	       (unsigned long long)echoed, (unsigned long long)reordered);
}

TEST(no_packet_is_lost_whatever_is_committed)
{
	const char *env = getenv("FWD_TEST_COMMITS");
	uint32_t commits = env ? strtoul(env, NULL, 10) : COMMITS;

	commits_under_load(IPV4, commits);
	commits_under_load(IPV6, env ? commits : commits / 5);
}
