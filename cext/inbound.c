/* SPDX-License-Identifier: Apache-2.0
 *
 * A packet's way in: underlay -> validate -> decapsulate -> coalesce -> TUN.
 * outbound.c is its mirror.
 */
#include "decap.h"
#include "tun.h"
#include "vnet.h"
#include "worker.h"

static SELDOM void note_not_written(struct worker *w, const struct pkt *p,
				    uint32_t n)
{
	count(&w->counters, DROP_IN_TUN_ERROR, n);
	trace_dropped(&w->trace, DROP_IN_TUN_ERROR,
		      &(struct sighting){ .point = VX_TO_TUN, .data = p->ip,
					  .len = p->len, .packets = n });
}

/* Whether it was written. */
static bool account(struct worker *w, int error, const struct pkt *p,
		    uint32_t n)
{
	if (error) {
		note_not_written(w, p, n);
		return false;
	}
	count(&w->counters, COUNT_IN_WRITTEN, n);
	count(&w->counters, COUNT_IN_BYTES, p->len);
	return true;
}

/* For a TUN that takes no super-packets: what a kernel peer did not cut. */
static int write_segments(struct worker *w, int tun, const struct pkt *p)
{
	struct vnethdr v = { 0 };
	int error = 0;

	if (p->payload > SEGMENT_HEADER_MAX)
		return -1;
	for (uint32_t i = 0; i < segment_count(p); i++) {
		segment_write(p, i, w->packet);
		error |= tun_write(tun, w->vnet, &v, w->packet,
				   segment_len(p, i));
		count(&w->counters, COUNT_IN_WRITES, 1);
	}
	return error;
}

/* The queue that keeps p's flow where it is. */
static int queue_of(const struct worker *w, const struct pkt *p)
{
	if (!w->steering)
		return w->tuns[w->first_queue];
	return w->tuns[steer_queue(w->steering, p, w->first_queue,
				   w->n_queues)];
}

static bool takes_gso(const struct worker *w, const struct pkt *p)
{
	return p->transport == PROTO_TCP ? w->tso : w->uso;
}

/* Writes a packet or n merged ones; whether that was done. */
static bool write_run(struct worker *w, struct pkt *p, uint32_t n)
{
	int tun = queue_of(w, p);
	struct vnethdr v;

	if (p->gso_size && !takes_gso(w, p))
		return account(w, write_segments(w, tun, p), p, n);
	if (p->unfinished && !w->vnet) {
		pkt_finish(p, p->l4, csum_offset(p->transport));
		p->unfinished = false;
	}
	v = vnet_make(p);
	count(&w->counters, COUNT_IN_WRITES, 1);
	return account(w, tun_write(tun, w->vnet, &v, p->ip, p->len), p, n);
}

/* A deliver_fn. */
static void deliver(void *worker, struct pkt *p, uint32_t n)
{
	write_run(worker, p, n);
}

/* Shows what was delivered to the capture that runs; a deliver_fn. */
static void deliver_shown(void *worker, struct pkt *p, uint32_t n)
{
	struct worker *w = worker;
	uint64_t time = trace_now();

	if (!write_run(w, p, n))
		return;		/* shown as dropped */
	trace_passed(&w->trace,
		     &(struct sighting){ .point = VX_TO_TUN, .data = p->ip,
					 .len = p->len, .packets = n,
					 .time = time });
}

/* The port stands before the address: sockaddr_in, sockaddr_in6. */
static be16 outer_port(const struct worker *w, const struct outer *outer)
{
	be16 port;

	memcpy(&port, outer->addr - (w->settings->family == IPV4 ? 2 : 6),
	       sizeof(port));
	return port;
}

static struct sighting sighting_of(const struct worker *w,
				   const struct outer *outer, uint8_t *data,
				   uint32_t len)
{
	return (struct sighting){ .point = VX_FROM_UNDERLAY, .tos = outer->tos,
				  .port = outer_port(w, outer),
				  .outer = outer->addr, .data = data,
				  .len = len, .packets = 1 };
}

/* Counts and shows a datagram that is dropped. */
static SELDOM void in_drop(struct worker *w, const struct outer *outer,
			   uint8_t *data, uint32_t len, enum counter reason)
{
	struct sighting s = sighting_of(w, outer, data, len);

	count(&w->counters, reason, 1);
	trace_dropped(&w->trace, reason, &s);
}

/* Shows one that goes on to the capture that runs. */
static SELDOM void in_capture(struct worker *w, const struct outer *outer,
			      uint8_t *data, uint32_t len)
{
	struct sighting s = sighting_of(w, outer, data, len);

	trace_passed(&w->trace, &s);
}

/* Bytes of the inner packet; 0: it was dropped. */
static uint32_t in_datagram(struct worker *w, const struct table *t,
			    const struct outer *outer, uint8_t *data,
			    uint32_t len, uint32_t gso_hint)
{
	struct pkt p;
	enum counter drop = decap(w->settings, t, outer, data, len, gso_hint,
				  &p);

	if (drop != w->trace.ordinary) {	/* or a capture runs */
		if (drop != NO_DROP) {
			in_drop(w, outer, data, len, drop);
			return 0;
		}
		in_capture(w, outer, data, len);
	}
	decap_take_ecn(outer, &p);
	path_mtu_apply(w->path_mtus, &p, w->sender.now);
	coalesce_add(&w->coalescer, &p);
	return p.len;
}

/*
 * Most datagrams of a message are of one flow, and what decap() found right of
 * one it would of the next: the sender is the same, so are the headers.  (The
 * run has its congestion mark as decap_take_ecn() left it: one that would still
 * be changed differs from that.)  Bytes of the inner packet; 0: the datagram
 * has to go the whole way.
 */
static uint32_t in_next(struct worker *w, const uint8_t *before, uint8_t *data,
			uint32_t len)
{
	const uint32_t overlay = sizeof(struct overlay);

	if (!before || len <= overlay || memcmp(before, data, overlay) ||
	    w->trace.ordinary != NO_DROP ||
	    !coalesce_next(&w->coalescer, data + overlay, len - overlay))
		return 0;
	return len - overlay;
}

static void in_message(struct worker *w, const struct table *t,
		       const struct received *m)
{
	struct outer outer = { m->addr, m->tos, table_sender(t, m->addr) };
	bool many = m->segment && m->segment < m->len &&
		    !decap_is_aggregate(w->settings, m->data, m->len,
					m->segment);
	uint32_t size = many ? m->segment : m->len;
	uint32_t at = 0, packets = 0, good = 0;
	const uint8_t *before = NULL;
	uint64_t bytes = 0;

	if (m->truncated) {
		count(&w->counters, COUNT_IN_PACKETS, 1);
		in_drop(w, &outer, m->data, m->len, DROP_IN_TRUNCATED);
		return;
	}
	do {
		uint8_t *data = m->data + at;
		uint32_t rest = m->len - at, part = rest < size ? rest : size;
		uint32_t len = in_next(w, before, data, part);

		if (!len)
			len = in_datagram(w, t, &outer, data, part,
					  many ? 0 : m->segment);
		before = len ? data : NULL;
		packets++;
		good += len > 0;
		bytes += len;
		at += size;
	} while (at < m->len);
	count(&w->counters, COUNT_IN_PACKETS, packets);
	if (good && outer.peer)
		peer_heard(&w->per_peer[outer.peer->slot], good, bytes,
			   w->sender.now);
}

bool inbound(struct worker *w, const struct table *t)
{
	bool more;
	int n = udp_receive(&w->receiver, w->listen, &more);

	if (n <= 0)
		return false;
	count(&w->counters, COUNT_IN_RECEIVES, n);
	watch_received(&w->watch, n);
	w->coalescer.deliver = w->trace.capture ? deliver_shown : deliver;
	for (int i = 0; i < n; i++) {
		struct received m = udp_received(&w->receiver, i);

		patience_carried(&w->patience, m.len, 0);
		in_message(w, t, &m);
	}
	coalesce_flush(&w->coalescer);
	return more;
}
