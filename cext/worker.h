/* SPDX-License-Identifier: Apache-2.0
 *
 * A worker: one thread, a few TUN queues, one receiving socket, and all the
 * memory that it will ever use.
 */
#pragma once
#include <pthread.h>

#include "coalesce.h"
#include "icmp.h"
#include "pathmtu.h"
#include "patience.h"
#include "peers.h"
#include "snapshot.h"
#include "steer.h"
#include "trace.h"
#include "udp.h"
#include "uncut.h"
#include "watch.h"

enum {
	/* What one turn reads from the TUN: so many packets at most, */
	OUT_BATCH = 64,
	/* and about so many bytes; or as many of bulk, where outbound.c's
	 * part() says so. */
	TURN_BYTES = 512 << 10,
	BULK_TURN = 1 << 20,
	/* A packet's headers to come, and the packet. */
	PACKET_FRONT = UNCUT_ROOM + sizeof(struct overlay),
	PACKET_BYTES = PACKET_FRONT + IP6_MAX_LEN,
};

struct worker {
	const struct vx_settings *settings;
	struct snapshot *snapshot;	/* the table, */
	struct reader *reader;		/* and this worker's place there */
	const _Atomic bool *stopping;
	struct capture *_Atomic const *capture;	/* as the table: once a turn */
	struct path_mtus *path_mtus;	/* shared by all workers */
	struct steering *steering;	/* as well; NULL: there is one queue */
	const int *tuns;		/* all queues of the TUN, */
	uint32_t first_queue, n_queues;	/* and which are this worker's */
	uint32_t reading;		/* the one that is read, as in tuns */
	uint32_t ready;			/* bit i: tuns[first_queue + i] is */
	int listen;
	struct watch watch;		/* what it wakes for */
	struct patience patience;	/* before it sleeps */
	bool vnet, tso, uso;		/* granted offloads of the TUN */
	pthread_t thread;
	_Atomic int tid;		/* 0: it does not run yet */

	uint8_t *buffers;		/* see worker_buffers() */
	/* One packet: outbound what was read, to be copied from there, inbound
	 * a segment to be written.  It stays in the cache, as a batch does
	 * not. */
	uint8_t *packet;

	struct packer packer;		/* outbound */
	struct sender sender;
	struct uncut uncut;
	struct icmp_limit icmp;

	struct receiver receiver;	/* inbound */
	struct coalescer coalescer;

	struct peer_counters *per_peer;
	struct tracer trace;
	_Alignas(64) struct counters counters;
};

/* One turn, from the queues w->ready or from the socket; whether there may be
 * more to do at once. */
bool outbound(struct worker *w, const struct table *t);
bool inbound(struct worker *w, const struct table *t);

/*
 * Worker number `index` on its share of all TUN queues and a receiving socket,
 * which it owns from here on; it also wakes for `stop`.  NULL: *error is
 * -errno.
 */
struct worker *worker_new(const struct vx_settings *settings, uint32_t index,
			  const int *tuns, int listen, const int *source,
			  int tap, int stop, int *error);
void worker_free(struct worker *w);

/* Gives a worker its buffers, for free(w->buffers); false: there is no memory
 * for them. */
bool worker_buffers(struct worker *w);

/* The thread's body. */
void *worker_main(void *worker);
