/* SPDX-License-Identifier: Apache-2.0
 *
 * What a worker wakes for.
 *
 * An epoll tells what is ready in a quarter of the time that poll() takes for
 * the socket and the epoll, and the packet that is waited for is found that
 * much earlier.  But a socket that it watches costs whoever delivers to it: for
 * each message the kernel calls the epoll back, however busy the worker is
 * (fs/eventpoll.c, ep_poll_callback()), and on a link that merges nothing,
 * where each datagram is a message, that is a fortieth of the sender's time,
 * which is the limit there.  So while messages come in trains the socket is
 * apart: not the epoll's, but looked at with poll().
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "api.h"

/* Bits of what is ready, by number: the worker's queues from 0 on, and */
enum { EVENT_SOCKET = VX_WORKER_QUEUES, EVENT_STOP };

enum {
	TRAIN = 8,		/* messages in one receive */
	TRAIN_LASTS = 16,	/* receives and sleeps since such a one */
};

struct watch {
	const int *tuns;
	int listen, epoll;
	bool apart;		/* the socket is not the epoll's */
	uint32_t train;		/* receives and sleeps for which not to be */
};

/* Watches these TUN queues, a socket, and `stop`; -errno. */
int watch_init(struct watch *w, const int *tuns, uint32_t n, int listen,
	       int stop);
void watch_free(struct watch *w);

/* Whether anything happened within `ms`; *ready gets what, a bit for each. */
bool watch_look(struct watch *w, int ms, unsigned *ready);

/* A receive brought so many messages. */
static inline void watch_received(struct watch *w, int n)
{
	if (n >= TRAIN)
		w->train = TRAIN_LASTS;
	else if (w->train)
		w->train--;
}
