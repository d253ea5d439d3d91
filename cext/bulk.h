/* SPDX-License-Identifier: Apache-2.0
 *
 * What a worker does that is faster than what it serves.
 *
 * Theory of operation.  Such a worker finds one super-packet a turn, or a few
 * small ones; and each turn has its system calls, its wake-ups, and messages
 * that are not full (64 KiB of TCP are one message of 44 segments, and one of
 * two).  So when a turn that was worth a pause has left nothing behind, the
 * worker sleeps for a moment, and what comes meanwhile goes together.  A
 * network card that moderates its interrupts does the same, for as long.
 *
 * Whoever sends one packet and waits for the answer never sees it: a turn has
 * to move a lot, or many, to be worth a pause.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum {
	BULK_PAUSE_NS = 50000,
	BULK_ENOUGH = 16 << 10,
	/* What a packet counts for beside its bytes: 15 small ones do. */
	BULK_PACKET = 1 << 10,
};

/* What a turn has moved. */
struct bulk {
	uint32_t moved;
};

static inline void bulk_add(struct bulk *b, uint32_t bytes)
{
	b->moved += BULK_PACKET + bytes;
}

/* Whether the turn that ends was worth a pause; the next one begins. */
static inline bool bulk_take(struct bulk *b)
{
	bool enough = b->moved >= BULK_ENOUGH;

	b->moved = 0;
	return enough;
}
