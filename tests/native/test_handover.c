/* SPDX-License-Identifier: Apache-2.0
 *
 * One plane after the other on the same queues and sockets, under load: no
 * packet is lost, whichever plane had it.  FWD_TEST_HANDOVERS: how many.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "counters.h"
#include "loadnet.h"
#include "plane.h"

enum { HANDOVERS = 200, ALL_OFFLOADS = 63, PAUSE_US = 2000 };

static struct vx_peer peers[NODES];
static struct vx_route routes[NODES];
static struct node nodes[NODES];

static struct vx_plane *next_plane(const struct kit *kit)
{
	struct vx_plane *plane = loadnet_plane_on(kit);

	CHECK_EQ(vx_plane_commit(plane, peers, NODES, routes, NODES), 0);
	return plane;
}

static uint64_t sum(const uint64_t *v, int kind)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < vx_counter_count(); i++)
		if (vx_counter_kind(i) == kind)
			n += v[i];
	return n;
}

/* A stopped plane has nothing in its hands. */
static void check_balance(struct vx_plane *plane)
{
	uint64_t v[N_COUNTERS];

	CHECK_EQ(vx_plane_counters(plane, -1, v, N_COUNTERS), 0);
	/* The host's own IPv6 and multicast have no peer. */
	CHECK_EQ(v[COUNT_OUT_PACKETS],
		 v[COUNT_OUT_SENT] + sum(v, VX_COUNT_DROP_OUT));
	CHECK_EQ(v[COUNT_IN_PACKETS], v[COUNT_IN_WRITTEN]);
	CHECK_EQ(sum(v, VX_COUNT_DROP_IN), 0);
}

static void begin_load(const _Atomic bool *stop)
{
	for (uint32_t i = 0; i < NODES; i++) {
		loadnet_node(i + 1, &peers[i], &routes[i]);
		routes[i].peer = i;
	}
	for (uint32_t i = 0; i < NODES; i++)
		loadnet_start(&nodes[i], i + 1, stop);
}

static uint64_t end_load(void)
{
	uint64_t echoed = 0;

	for (uint32_t i = 0; i < NODES; i++) {
		loadnet_join(&nodes[i]);
		CHECK_EQ(nodes[i].misdirected, 0);
		CHECK_EQ(nodes[i].lost, 0);
		CHECK(nodes[i].sent > WINDOW);
		echoed += nodes[i].echoed;
	}
	return echoed;
}

static void planes_take_over_from_each_other(uint8_t family)
{
	const char *env = getenv("FWD_TEST_HANDOVERS");
	uint32_t n = env ? strtoul(env, NULL, 10) : HANDOVERS;
	uint8_t *learned = malloc(vx_learned_size());
	_Atomic bool stop = false;
	struct vx_plane *plane;
	struct kit kit;

	if (!loadnet_enter(family))
		return;
	kit = loadnet_kit(ALL_OFFLOADS, 2);
	begin_load(&stop);
	plane = next_plane(&kit);
	CHECK_EQ(vx_plane_start(plane), 0);
	for (uint32_t i = 0; i < n; i++) {
		struct vx_plane *next = next_plane(&kit);

		usleep(PAUSE_US);
		vx_plane_stop(plane);
		CHECK_EQ(vx_plane_learned(plane, learned), 0);
		CHECK_EQ(vx_plane_relearn(next, learned, vx_learned_size()), 0);
		CHECK_EQ(vx_plane_start(next), 0);
		check_balance(plane);
		vx_plane_free(plane);
		plane = next;
	}
	stop = true;
	printf("%u hand-overs, %llu packets there and back\n", n,
	       (unsigned long long)end_load());
	vx_plane_free(plane);
	loadnet_close(&kit);
	free(learned);
}

static bool is_thread(int tid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	return tid && !access(path, R_OK);
}

/* What an old process does when the new one does not come up. */
static void a_stopped_plane_goes_on(uint8_t family)
{
	_Atomic bool stop = false;
	struct vx_plane *plane;
	struct kit kit;

	if (!loadnet_enter(family))
		return;
	kit = loadnet_kit(ALL_OFFLOADS, 2);
	begin_load(&stop);
	plane = next_plane(&kit);
	for (uint32_t i = 0; i < 50; i++) {
		CHECK_EQ(vx_plane_start(plane), 0);
		usleep(PAUSE_US);
		vx_plane_stop(plane);
		check_balance(plane);
	}
	CHECK_EQ(vx_plane_thread(plane, 0), 0);	/* it has ended */
	CHECK_EQ(vx_plane_start(plane), 0);
	usleep(PAUSE_US);
	stop = true;
	end_load();
	for (uint32_t i = 0; i < 2; i++)
		CHECK(is_thread(vx_plane_thread(plane, i)));
	CHECK(vx_plane_thread(plane, 0) != vx_plane_thread(plane, 1));
	CHECK(vx_plane_turns(plane, 0) + vx_plane_turns(plane, 1) > 50);
	CHECK_EQ(vx_plane_turns(plane, 2), 0);
	vx_plane_free(plane);
	loadnet_close(&kit);
}

TEST(of_each_family)
{
	for (uint8_t family = IPV4; family <= IPV6; family += 2) {
		check_context("IPv%u", family);
		planes_take_over_from_each_other(family);
		a_stopped_plane_goes_on(family);
	}
}

/* Whatever another process says has been learned, a worker survives it. */
TEST(learned_is_checked)
{
	struct vx_plane *plane = aligned_alloc(64, sizeof(*plane));
	uint32_t n = vx_learned_size();
	uint8_t *bytes = malloc(n + 1), *back = malloc(n);
	uint32_t layout, e;

	memset(plane, 0, sizeof(*plane));
	plane->settings.workers = 3;
	plane->settings.queues = 1;
	CHECK_EQ(vx_plane_learned(plane, bytes), 0);
	memcpy(&layout, bytes, sizeof(layout));
	rnd_fill(bytes, n);
	CHECK_EQ(vx_plane_relearn(plane, bytes, n), -EINVAL);
	memcpy(bytes, &layout, sizeof(layout));
	CHECK_EQ(vx_plane_relearn(plane, bytes, n - 1), -EINVAL);
	CHECK_EQ(vx_plane_relearn(plane, bytes, n + 1), -EINVAL);
	CHECK_EQ(vx_plane_relearn(plane, bytes, 0), -EINVAL);
	CHECK_EQ(vx_plane_relearn(plane, bytes, n), 0);
	for (unsigned i = 0; i < STEER_BUCKETS; i++)
		for (unsigned j = 0; j < STEER_WAYS; j++) {
			e = plane->steering.entry[i][j];
			CHECK((e & 0xff) < 3);
		}
	for (unsigned i = 0; i < PATH_MTUS; i++) {
		e = (uint16_t)plane->path_mtus.entry[i];
		CHECK(e == 0 || e >= PATH_MTU_MIN);
	}
	/* What was kept comes out as it went in. */
	CHECK_EQ(vx_plane_learned(plane, bytes), 0);
	memset(&plane->steering, 0, sizeof(plane->steering));
	memset(&plane->path_mtus, 0, sizeof(plane->path_mtus));
	CHECK_EQ(vx_plane_relearn(plane, bytes, n), 0);
	CHECK_EQ(vx_plane_learned(plane, back), 0);
	CHECK_MEM(back, bytes, n);
	free(bytes);
	free(back);
	free(plane);
}
