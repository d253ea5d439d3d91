/* SPDX-License-Identifier: Apache-2.0
 *
 * A worker's memory and descriptors.  loop.c is its life.
 */
#include "worker.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	HUGE_PAGE = 2 << 20,
	/* Where begins, behind the packet at hand, what is to be sent, what is
	 * received, and what is merged. */
	SENT = (PACKET_BYTES + 63) & ~63,
	RECEIVED = SENT + PACK_BYTES,
	MERGED = RECEIVED + IN_BATCH * LARGE_STRIDE,
	BUFFER_BYTES = MERGED + RUNS * LARGE_STRIDE,
	BUFFER_ROOM = (BUFFER_BYTES + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1),
};

static_assert(RECEIVED + IN_BATCH_LARGE * LARGE_STRIDE <= HUGE_PAGE,
	      "what is sent, and what is received large, is on the huge page");

/*
 * What is sent and the buffers of large messages share one huge page: they are
 * copied to and from all the time, and in pages of 4 KiB each copy misses
 * the TLB 16 times.  The other buffers get small messages only, of their
 * pages one or two are ever touched; and a run's are few, and as few as there
 * are flows.
 */
bool worker_buffers(struct worker *w)
{
	uint8_t *buffers = aligned_alloc(HUGE_PAGE, BUFFER_ROOM);

	w->buffers = buffers;
	if (!buffers)
		return false;
	madvise(buffers, HUGE_PAGE, MADV_HUGEPAGE); /* a wish: slower without */
	w->packet = buffers + PACKET_FRONT;
	w->packer.memory = buffers + SENT;
	w->coalescer.memory = buffers + MERGED;
	udp_receiver_init(&w->receiver, buffers + RECEIVED);
	return true;
}

static void take_settings(struct worker *w, const struct vx_settings *s,
			  const int *source)
{
	w->settings = s;
	w->vnet = s->offloads & VX_VNET_HDR;
	w->tso = s->offloads & VX_TSO;
	w->uso = s->offloads & VX_USO;
	patience_init(&w->patience, s->spin * 1000ull,
		      !(s->offloads & VX_TUNNEL_GSO));
	w->icmp.rate = s->icmp_rate;
	w->sender.fds = source;
	w->sender.n_fds = s->sources;
	for (uint32_t i = 0; i < s->sources; i++)
		w->sender.port[i] = udp_port(source[i]);
	w->sender.counters = &w->counters;
	w->sender.per_peer = w->per_peer;
	w->sender.trace = &w->trace;
	w->sender.may_segment = s->offloads & VX_UDP_SEGMENT;
	w->sender.segment = w->sender.may_segment;
	w->coalescer.to = w;
	w->coalescer.tcp = w->tso;
	w->coalescer.udp = w->uso;
}

static void close_own(const int *tuns, uint32_t n, int listen)
{
	while (n--)
		close(tuns[n]);
	close(listen);
}

struct worker *worker_new(const struct vx_settings *settings, uint32_t index,
			  const int *tuns, int listen, const int *source,
			  int tap, int stop, int *error)
{
	struct worker *w = aligned_alloc(_Alignof(struct worker), sizeof(*w));
	uint32_t queue = index * settings->queues;

	*error = -ENOMEM;
	if (!w) {
		close_own(tuns + queue, settings->queues, listen);
		return NULL;
	}
	memset(w, 0, sizeof(*w));
	w->tuns = tuns;
	w->first_queue = w->reading = queue;
	w->n_queues = settings->queues;
	w->listen = listen;
	w->trace.index = index;
	w->per_peer = peers_new();
	uncut_init(&w->uncut, settings, tap);
	take_settings(w, settings, source);
	w->watch.epoll = -1;
	if (worker_buffers(w) && w->per_peer &&
	    !tracer_init(&w->trace, settings->family))
		*error = watch_init(&w->watch, tuns + queue, w->n_queues,
				    listen, stop);
	if (!*error)
		return w;
	worker_free(w);
	return NULL;
}

void worker_free(struct worker *w)
{
	close_own(w->tuns + w->first_queue, w->n_queues, w->listen);
	watch_free(&w->watch);
	free(w->buffers);
	peers_free(w->per_peer);
	tracer_free(&w->trace);
	free(w);
}
