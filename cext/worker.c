/* SPDX-License-Identifier: Apache-2.0
 *
 * A worker's memory and descriptors.  loop.c is its life.
 */
#include "worker.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	HUGE_PAGE = 2 << 20,
	BUFFER_BYTES = ARENA_BYTES + IN_BATCH * IN_STRIDE,
	BUFFER_ROOM = (BUFFER_BYTES + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1),
};

static_assert(ARENA_BYTES + IN_BATCH_LARGE * IN_STRIDE <= HUGE_PAGE,
	      "what large packets pass through is on the huge page");

/*
 * The arena and the buffers of large messages share one huge page: they are
 * copied to and from all the time, and in pages of 4 KiB each copy misses
 * the TLB 16 times.  The other buffers get small messages only, of their
 * pages one or two are ever touched.
 */
static uint8_t *buffers_new(void)
{
	uint8_t *buffers = aligned_alloc(HUGE_PAGE, BUFFER_ROOM);

	if (buffers)	/* a wish: slower without */
		madvise(buffers, HUGE_PAGE, MADV_HUGEPAGE);
	return buffers;
}

static int watch(int epoll, const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct epoll_event e = { .events = EPOLLIN,
					 .data.fd = fds[i] };

		if (epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &e) < 0)
			return -errno;
	}
	return 0;
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
	w->sender.counters = &w->counters;
	w->sender.peers = w->peers;
	w->sender.trace = &w->trace;
	w->sender.segment = s->offloads & VX_UDP_SEGMENT;
	w->coalescer.to = w;
	w->coalescer.tcp = w->tso;
	w->coalescer.udp = w->uso;
}

struct worker *worker_new(const struct vx_settings *settings, int tun,
			  int listen, const int *source, int tap, int stop,
			  int *error)
{
	struct worker *w = aligned_alloc(_Alignof(struct worker), sizeof(*w));
	int watched[] = { tun, listen, stop };

	*error = -ENOMEM;
	if (!w) {
		close(tun);
		close(listen);
		return NULL;
	}
	memset(w, 0, sizeof(*w));
	w->tun = tun;
	w->listen = listen;
	w->peers = peers_new();
	take_settings(w, settings, source);
	w->epoll = epoll_create1(EPOLL_CLOEXEC);
	w->arena = buffers_new();
	if (w->arena && w->peers && !tracer_init(&w->trace, settings->family)) {
		udp_receiver_init(&w->receiver, w->arena + ARENA_BYTES);
		*error = w->epoll < 0 ? -errno : watch(w->epoll, watched, 3);
	}
	if (!*error)
		*error = uncut_init(&w->uncut, settings, tap, source);
	if (!*error)
		return w;
	worker_free(w);
	return NULL;
}

void worker_free(struct worker *w)
{
	close(w->tun);
	close(w->listen);
	if (w->epoll >= 0)
		close(w->epoll);
	free(w->arena);
	peers_free(w->peers);
	tracer_free(&w->trace);
	free(w);
}
