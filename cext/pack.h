/* SPDX-License-Identifier: Apache-2.0
 *
 * Datagrams on their way out: laid down one behind the other while the TUN is
 * read, then packed into as few messages as possible.
 *
 * Theory of operation.  A datagram's bytes lie in the packer's memory; those
 * of one sending socket form a list in the order of arrival, and a flow always
 * has the same socket, so packing along the lists never reorders a flow.
 * Neighbours in a list with one peer, one ECN and one length become one message
 * for UDP_SEGMENT (a shorter one may close it), also across reads: a 64 KiB
 * read does not become one full and one nearly empty send.  And neighbours in
 * memory, which those of one flow mostly are, are one piece to the kernel,
 * which it copies far sooner than many.
 */
#pragma once
#include <sys/socket.h>
#include <sys/uio.h>

#include "api.h"
#include "segment.h"
#include "table.h"

enum {
	PACK_DATAGRAMS = 512,
	/* TURN_BYTES and the packet that exceeds them, cut into segments of
	 * 1,200 bytes and more; what is more is sent in between. */
	PACK_BYTES = 624 << 10,
	NO_DATAGRAM = 0xffff,
	/* Room for UDP_SEGMENT (uint16_t) and IP_TOS or IPV6_TCLASS (int). */
	CONTROL_LEN = CMSG_SPACE(sizeof(uint16_t)) + CMSG_SPACE(sizeof(int)),
};

struct datagram {
	const struct peer *peer;
	uint8_t *data;			/* a struct overlay, then the packet */
	uint32_t len;			/* of both */
	uint16_t next;
	uint8_t tos;
	bool lost;			/* and was shown as that */
};

struct packer {
	uint8_t *memory;		/* PACK_BYTES, */
	uint32_t bytes;			/* of which so many are taken */
	uint16_t n;			/* datagrams laid down */
	uint64_t used;			/* sources with a list, one bit each */
	uint16_t head[VX_MAX_SOURCES];
	uint16_t tail[VX_MAX_SOURCES];
	struct datagram datagrams[PACK_DATAGRAMS];
};

/* Messages made of one list; everything sendmmsg() wants. */
struct messages {
	uint32_t n;
	struct mmsghdr msg[PACK_DATAGRAMS];
	/* Message i's first datagram, and how many it has. */
	uint16_t first[PACK_DATAGRAMS + 1];
	uint16_t count[PACK_DATAGRAMS];
	struct iovec iov[PACK_DATAGRAMS];
	_Alignas(struct cmsghdr) uint8_t control[PACK_DATAGRAMS][CONTROL_LEN];
};

/* Whether there is no room for a datagram of `len` bytes. */
static inline bool pack_is_full(const struct packer *k, uint32_t len)
{
	return k->n == PACK_DATAGRAMS || k->bytes + len > PACK_BYTES;
}

/* A new datagram, its `len` bytes to be filled, at the end of the list of
 * `source`. */
struct datagram *pack_take(struct packer *k, uint32_t source, uint32_t len);

/* Empties all lists. */
void pack_reset(struct packer *k);

/* Whether messages to a peer may hold several datagrams. */
typedef bool may_segment_fn(const void *who, const struct peer *peer);

/* Packs the list from the datagram `from` to its end. */
void pack_messages(const struct packer *k, uint16_t from,
		   may_segment_fn *may_segment, const void *who,
		   struct messages *m);
