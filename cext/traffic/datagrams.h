/* SPDX-License-Identifier: Apache-2.0
 *
 * What sender and receiver of numbered datagrams share.
 */
#pragma once
#include <sys/socket.h>

#include "api.h"

enum { BATCH = 32 };

/* The first bytes of each datagram, in the byte order of the machine: both
 * ends are on it. */
struct number {
	uint32_t flow;
	uint32_t magic;
	uint64_t seq;
};

#define MAGIC 0x66776462

_Static_assert(sizeof(struct number) == TG_MIN_SIZE, "smallest datagram");

struct batch {
	struct mmsghdr msg[BATCH];
	struct iovec iov[BATCH];
	uint8_t *data;
};

/* Buffers of `size` bytes; 0 or -ENOMEM.  The caller frees b->data. */
int batch_init(struct batch *b, uint32_t size);
