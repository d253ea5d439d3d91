/* SPDX-License-Identifier: Apache-2.0
 *
 * Records from one worker to the control thread, which neither wait for each
 * other: what finds no room is counted and gone.
 *
 * Theory of operation.  One writes, one reads.  head is where the next record
 * goes, tail where the oldest one is, in bytes since the beginning; both only
 * grow, so head - tail is what is in use.  The writer stores bytes, then head
 * (release); the reader loads head (acquire), so it sees the bytes, copies
 * them, then stores tail (release); the writer loads tail (acquire) before it
 * writes there again.  Records begin with their own size, a multiple of
 * RING_ALIGN as is the ring's, so the size itself never wraps.
 */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

enum { RING_ALIGN = 8 };

struct ring {
	uint8_t *data;
	uint32_t size;				/* a power of two */
	_Alignas(64) _Atomic uint64_t head;
	_Atomic uint64_t lost;			/* records without room */
	_Alignas(64) _Atomic uint64_t tail;
};

/* -ENOMEM; size is a power of two and at least RING_ALIGN. */
int ring_init(struct ring *r, uint32_t size);
void ring_free(struct ring *r);

/*
 * Writes one record made of n pieces and padding, total bytes with it: the
 * size that the first piece states, uint32_t, at its begin.
 */
bool ring_put(struct ring *r, const struct iovec *pieces, uint32_t n,
	      uint32_t total);

/* Takes whole records, as many as `room` has room for; their bytes. */
uint32_t ring_take(struct ring *r, uint8_t *to, uint32_t room);
