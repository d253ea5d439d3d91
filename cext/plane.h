/* SPDX-License-Identifier: Apache-2.0
 *
 * The plane itself: plane.c is its life, reading.c what can be seen of it.
 */
#pragma once
#include "worker.h"

struct vx_plane {
	struct vx_settings settings;
	struct snapshot snapshot;
	_Atomic bool stopping;
	struct capture *_Atomic capture;	/* NULL: none */
	struct capture *ended;			/* a worker may still see it, */
	uint64_t ended_at;			/* until this generation */
	uint32_t first_drops, first_captured;	/* whose ring is read first */
	struct path_mtus path_mtus;
	struct steering steering;
	int stop;			/* eventfd: wakes all workers */
	uint32_t started;		/* threads to join */
	uint32_t taken;			/* queues that workers own */
	int source[VX_MAX_SOURCES];
	int tap;			/* -1: none; shared by the workers */
	int tun[VX_MAX_QUEUES];		/* owned by the workers */
	struct worker *workers[VX_MAX_WORKERS];
};

/* Frees the capture that has ended, if no worker sees it any more. */
bool capture_reap(struct vx_plane *plane);
