/* SPDX-License-Identifier: Apache-2.0
 *
 * What a plane's workers have learned from packets, as bytes: it goes with the
 * descriptors to the process that forwards next.  A flow then keeps its queue,
 * and so its order.
 */
#include <errno.h>
#include <stdlib.h>

#include "plane.h"

/* Another number for another meaning: pkt.c's flow_hash() is part of it.  (What
 * a path MTU's entry has beside it is older processes' to misread: they take
 * it for a larger one, and learn anew.) */
enum { LAYOUT = 0x66776403 };

struct learned {
	uint32_t layout;
	uint32_t reserved;
	uint64_t path_mtu[PATH_MTUS];
	uint32_t steer[STEER_BUCKETS * STEER_WAYS];
};

uint32_t vx_learned_size(void)
{
	return sizeof(struct learned);
}

int vx_plane_learned(const struct vx_plane *plane, uint8_t *out)
{
	struct learned *l = malloc(sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->layout = LAYOUT;
	l->reserved = 0;
	path_mtu_save(&plane->path_mtus, l->path_mtu);
	steer_save(&plane->steering, l->steer);
	memcpy(out, l, sizeof(*l));
	free(l);
	return 0;
}

int vx_plane_relearn(struct vx_plane *plane, const uint8_t *in, uint32_t n)
{
	struct learned *l;

	if (n != sizeof(*l))
		return -EINVAL;
	l = malloc(n);
	if (!l)
		return -ENOMEM;
	memcpy(l, in, n);
	if (l->layout != LAYOUT) {
		free(l);
		return -EINVAL;
	}
	path_mtu_restore(&plane->path_mtus, l->path_mtu);
	steer_restore(&plane->steering, l->steer, plane->settings.workers *
						  plane->settings.queues);
	free(l);
	return 0;
}
