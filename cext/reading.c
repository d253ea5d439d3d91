/* SPDX-License-Identifier: Apache-2.0
 *
 * What the control thread sees of a plane while packets flow: counters,
 * traffic by peer, and the records of packets that trace.h speaks of.
 */
#include <errno.h>
#include <stdlib.h>

#include "plane.h"

uint32_t vx_plane_retired(struct vx_plane *plane)
{
	return snapshot_reap(&plane->snapshot);
}

uint32_t vx_plane_offloads(const struct vx_plane *plane)
{
	uint32_t offloads = plane->settings.offloads;

	for (uint32_t i = 0; i < plane->settings.workers; i++)
		if (!atomic_load(&plane->workers[i]->sender.segment))
			offloads &= ~VX_UDP_SEGMENT;
	return offloads;
}

static void add_counters(const struct worker *w, uint64_t *out)
{
	for (unsigned i = 0; i < N_COUNTERS; i++)
		out[i] += atomic_load_explicit(&w->counters.v[i],
					       memory_order_relaxed);
}

int vx_plane_counters(const struct vx_plane *plane, int worker,
		      uint64_t *out, uint32_t n)
{
	int workers = plane->settings.workers;

	if (worker >= workers || worker < -1 || n < N_COUNTERS)
		return -EINVAL;
	memset(out, 0, n * sizeof(*out));
	for (int i = 0; i < workers; i++)
		if (worker == -1 || worker == i)
			add_counters(plane->workers[i], out);
	return 0;
}

void vx_plane_peers(const struct vx_plane *plane, const uint32_t *slots,
		    uint32_t n, struct vx_peer_traffic *out)
{
	memset(out, 0, n * sizeof(*out));
	for (uint32_t i = 0; i < plane->settings.workers; i++)
		peers_add(plane->workers[i]->per_peer, slots, n, out);
}

/*
 * Records of ring after ring, as many as there is room for; another ring is
 * the first one each time, so that a busy one leaves room for the others.
 */
struct taking {
	uint8_t *buffer;
	uint32_t size, used;
};

static void take(struct taking *t, struct ring *ring)
{
	t->used += ring_take(ring, t->buffer + t->used, t->size - t->used);
}

uint32_t vx_plane_drops(struct vx_plane *plane, uint8_t *buffer, uint32_t size)
{
	uint32_t n = plane->settings.workers, first = plane->first_drops++;
	struct taking t = { buffer, size, 0 };

	capture_reap(plane);
	for (uint32_t i = 0; i < n; i++)
		take(&t, &plane->workers[(first + i) % n]->trace.drops);
	return t.used;
}

static void capture_free(struct capture *c)
{
	for (uint32_t i = 0; c && i < c->n_rings; i++)
		ring_free(&c->rings[i]);
	free(c);
}

bool capture_reap(struct vx_plane *plane)
{
	if (plane->ended &&
	    !snapshot_passed(&plane->snapshot, plane->ended_at))
		return false;
	capture_free(plane->ended);
	plane->ended = NULL;
	return true;
}

static struct capture *capture_new(uint32_t workers, uint32_t ring_size)
{
	size_t size = sizeof(struct capture) + workers * sizeof(struct ring);
	struct capture *c = aligned_alloc(_Alignof(struct capture),
					  size + -size %
					  _Alignof(struct capture));
	int error = 0;

	if (!c)
		return NULL;
	memset(c, 0, size);
	c->n_rings = workers;
	for (uint32_t i = 0; i < workers; i++)
		error |= ring_init(&c->rings[i], ring_size);
	if (!error)
		return c;
	capture_free(c);
	return NULL;
}

int vx_plane_capture(struct vx_plane *plane, const struct vx_test *tests,
		     uint32_t n_tests, uint32_t snaplen, uint32_t ring_size)
{
	struct capture *c;

	if (filter_check(tests, n_tests) || ring_size < RING_ALIGN ||
	    ring_size & (ring_size - 1))
		return -EINVAL;
	if (plane->capture || !capture_reap(plane))
		return -EBUSY;
	c = capture_new(plane->settings.workers, ring_size);
	if (!c)
		return -ENOMEM;
	c->snaplen = snaplen;
	c->filter.n = n_tests;
	memcpy(c->filter.tests, tests, n_tests * sizeof(*tests));
	atomic_store(&plane->capture, c);
	return 0;
}

uint32_t vx_plane_captured(struct vx_plane *plane, uint8_t *buffer,
			   uint32_t size, uint64_t *lost)
{
	struct capture *c = plane->capture;
	uint32_t n = c ? c->n_rings : 0, first = plane->first_captured++;
	struct taking t = { buffer, size, 0 };

	*lost = 0;
	for (uint32_t i = 0; i < n; i++) {
		take(&t, &c->rings[(first + i) % n]);
		*lost += atomic_load_explicit(&c->rings[i].lost,
					      memory_order_relaxed);
	}
	return t.used;
}

void vx_plane_capture_end(struct vx_plane *plane)
{
	if (!plane->capture)
		return;
	plane->ended = atomic_exchange(&plane->capture, NULL);
	plane->ended_at = snapshot_withdraw(&plane->snapshot);
	capture_reap(plane);
}
