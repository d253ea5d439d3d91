/* SPDX-License-Identifier: Apache-2.0
 *
 * What is read of a plane that does not run: no worker's records wait behind
 * another's for ever, and a capture is freed whenever it has ended.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "plane.h"

static const struct vx_test all;	/* of no tests */

enum { WORKERS = 3, RING = 1 << 12, ROUNDS = 30 };

/* On pipes, which nobody reads: the workers never start. */
static struct vx_plane *idle_plane(void)
{
	struct vx_settings s = { .family = IPV4, .mtu = 1450, .port = 8472,
				 .workers = WORKERS, .queues = 1,
				 .sources = 1 };
	int tun[WORKERS], listen[WORKERS], source[2], error;
	struct vx_plane *plane;

	for (unsigned i = 0; i < WORKERS; i++) {
		int both[2];

		CHECK_EQ(pipe(both), 0);
		tun[i] = both[0];
		listen[i] = both[1];
	}
	CHECK_EQ(pipe(source), 0);
	close(source[1]);
	plane = vx_plane_new(&s, tun, listen, source, -1, &error);
	CHECK_EQ(error, 0);
	return plane;
}

static void put(struct ring *ring, uint16_t worker)
{
	struct vx_record r = { .size = sizeof(r), .verdict = worker };

	CHECK(ring_put(ring, &(struct iovec){ &r, sizeof(r) }, 1, sizeof(r)));
}

/* Whose record it is. */
static uint16_t worker_of(const uint8_t *buffer, uint32_t used)
{
	struct vx_record r;

	CHECK_EQ(used, sizeof(r));
	memcpy(&r, buffer, sizeof(r));
	return r.verdict;
}

TEST(each_worker_has_its_turn)
{
	uint32_t drops[WORKERS] = { 0 }, seen[WORKERS] = { 0 };
	struct vx_plane *plane = idle_plane();
	uint8_t one[sizeof(struct vx_record)];
	uint64_t lost;

	CHECK_EQ(vx_plane_capture(plane, &all, 0, 64, RING), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		/* All have something each time, and there is room for one. */
		for (uint16_t w = 0; w < WORKERS; w++) {
			put(&plane->workers[w]->trace.drops, w);
			put(&plane->capture->rings[w], w);
		}
		drops[worker_of(one, vx_plane_drops(plane, one,
						    sizeof(one)))]++;
		seen[worker_of(one, vx_plane_captured(plane, one, sizeof(one),
						      &lost))]++;
	}
	for (unsigned w = 0; w < WORKERS; w++) {
		CHECK_EQ(drops[w], ROUNDS / WORKERS);
		CHECK_EQ(seen[w], ROUNDS / WORKERS);
	}
	vx_plane_free(plane);
}

TEST(a_capture_that_ended_under_a_worker_goes_with_the_plane)
{
	struct vx_plane *plane = idle_plane();
	struct worker *w = plane->workers[0];

	CHECK_EQ(vx_plane_capture(plane, &all, 0, 64, RING), 0);
	snapshot_read(w->snapshot, w->reader);
	vx_plane_capture_end(plane);
	CHECK(plane->ended != NULL);	/* the worker may still write to it */
	snapshot_leave(w->reader);
	vx_plane_free(plane);		/* LeakSanitizer looks */
}
