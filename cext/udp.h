/* SPDX-License-Identifier: Apache-2.0
 *
 * The underlay sockets: opening (vx_udp_listen, vx_udp_source, udp_open.c),
 * sending what pack.c collected, receiving a batch (udp_receive.c).
 */
#pragma once
#include "counters.h"
#include "pack.h"
#include "peers.h"
#include "stride.h"
#include "trace.h"

enum {
	/* What one receive brings: small messages, to be merged into one
	 * write; or fewer large ones, which are merged already and together
	 * should not outgrow the cache. */
	IN_BATCH = 64,
	IN_BATCH_LARGE = 16,
	IN_SMALL = 4096,
	/* A datagram's 65,527 bytes, and one more: MSG_TRUNC at the least. */
	IN_ROOM = 65536,
	PROOFS = 64,
};

/* Segments of `size` bytes went to this peer at once, as one message. */
struct proof {
	struct sockaddr_in6 to;		/* or sockaddr_in */
	uint64_t until;			/* ms: it is good for */
	uint32_t size;
};

/* One worker's sending side. */
struct sender {
	const int *fds;			/* one for each source port */
	uint32_t n_fds;
	be16 port[VX_MAX_SOURCES];	/* of fds, for who may not ask */
	struct counters *counters;
	struct peer_counters *per_peer;
	struct tracer *trace;
	bool may_segment;		/* UDP_SEGMENT, where paths take it */
	_Atomic bool segment;		/* it is in force, read by others */
	uint64_t now;			/* ms, of this turn */
	/* By slot of the peer; of those that share a place one is known. */
	struct proof proofs[PROOFS];
	struct messages messages;
};

/* Sends and empties all lists of k.  Counts what was sent and what not. */
void udp_send_all(struct sender *s, struct packer *k);

/* Counts a message to the peer that was sent; bytes are inner ones. */
void udp_account(struct sender *s, const struct peer *peer, uint32_t packets,
		 uint64_t bytes);

/* Whether a socket has sent segments of `size` bytes to the peer just now: then
 * the path takes them. */
bool udp_proven(const struct sender *s, const struct peer *peer,
		uint32_t size);

/* The port that a socket sends from, 0 if it cannot be known: a confined
 * worker may not ask. */
be16 udp_port(int fd);

/* A batch of received messages; memory for it is `buffers`. */
struct receiver {
	uint32_t batch;			/* messages to ask for next */
	uint32_t used;			/* of the last receive */
	struct mmsghdr msg[IN_BATCH];
	struct iovec iov[IN_BATCH];
	struct sockaddr_in6 name[IN_BATCH];	/* or sockaddr_in */
	_Alignas(struct cmsghdr) uint8_t control[IN_BATCH][64];
};

void udp_receiver_init(struct receiver *r, uint8_t *buffers);

/* Receives what is there; the number of messages, -errno.  *more: there may
 * be more. */
int udp_receive(struct receiver *r, int fd, bool *more);

/* One received message. */
struct received {
	uint8_t *data;
	uint32_t len;
	uint32_t segment;	/* UDP_GRO: bytes a datagram; 0: one datagram */
	uint8_t tos;
	bool truncated;
	const uint8_t *addr;	/* outer source */
};

struct received udp_received(const struct receiver *r, uint32_t i);
