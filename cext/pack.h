/* SPDX-License-Identifier: Apache-2.0
 *
 * Datagrams on their way out: collected while the TUN is read, then packed
 * into as few messages as possible.
 *
 * Theory of operation.  A slot is one datagram: one or two pieces of memory
 * (in the read buffer, in the slot's own header room, in the peer's cooked
 * header) and where it goes.  Slots of one sending socket form a list in the
 * order of arrival, and a flow always has the same socket, so packing along
 * the lists never reorders a flow.  Neighbours in a list with one peer, one
 * ECN and one length become one message for UDP_SEGMENT (a shorter one may
 * close it), also across reads: a 64 KiB read does not become one full and
 * one nearly empty send.
 */
#pragma once
#include <sys/socket.h>
#include <sys/uio.h>

#include "api.h"
#include "segment.h"
#include "table.h"

enum {
	SLOTS = 512,
	NO_SLOT = 0xffff,
	/* Room for UDP_SEGMENT (uint16_t) and IP_TOS or IPV6_TCLASS (int). */
	CONTROL_LEN = CMSG_SPACE(sizeof(uint16_t)) + CMSG_SPACE(sizeof(int)),
};

struct slot {
	const struct peer *peer;
	uint32_t len;			/* datagram payload */
	uint32_t inner_len;
	uint16_t next;
	uint8_t tos;
	uint8_t n_iov;
	struct iovec iov[2];
	uint8_t header[sizeof(struct overlay) + SEGMENT_HEADER_MAX];
};

struct packer {
	uint16_t n;			/* slots taken */
	uint64_t used;			/* sources with a list, one bit each */
	uint16_t head[VX_MAX_SOURCES];
	uint16_t tail[VX_MAX_SOURCES];
	struct slot slots[SLOTS];
};

/* Messages made of one list; everything sendmmsg() wants. */
struct messages {
	uint32_t n;
	struct mmsghdr msg[SLOTS];
	uint16_t first[SLOTS + 1];	/* slot with which message i begins */
	uint16_t count[SLOTS];		/* its datagrams */
	struct iovec iov[2 * SLOTS];
	_Alignas(struct cmsghdr) uint8_t control[SLOTS][CONTROL_LEN];
};

static inline bool pack_is_full(const struct packer *k)
{
	return k->n == SLOTS;
}

/* The next free slot, appended to the list of `source`. */
struct slot *pack_take(struct packer *k, uint32_t source);

/* Empties all lists. */
void pack_reset(struct packer *k);

/* Whether messages to a peer may hold several datagrams. */
typedef bool may_segment_fn(const void *who, const struct peer *peer);

/* Packs the list from slot `from` to its end. */
void pack_messages(const struct packer *k, uint16_t from,
		   may_segment_fn *may_segment, const void *who,
		   struct messages *m);
