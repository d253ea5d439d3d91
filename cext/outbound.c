/* SPDX-License-Identifier: Apache-2.0
 *
 * A packet's way out: TUN -> classify -> look up -> encapsulate -> underlay.
 * inbound.c is its mirror.
 */
#include <errno.h>

#include "ecn.h"
#include "tun.h"
#include "vnet.h"
#include "worker.h"

enum { HEADROOM = sizeof(struct overlay) };

/* A kernel that has IPv6 tells every device of groups, an IPv4 TUN too. */
static enum counter of_other_family(const struct worker *w, uint8_t *ip,
				    uint32_t len)
{
	enum family other = w->settings->family == IPV4 ? IPV6 : IPV4;
	struct pkt p;

	if (pkt_parse(&p, ip, len, other) == PKT_OK &&
	    is_multicast(pkt_dst(&p), other))
		return DROP_OUT_MULTICAST;
	return DROP_OUT_OTHER_FAMILY;
}

/* Parses what was read, and leaves only segmentation undone. */
static enum counter classify(const struct worker *w,
			     const struct vnethdr *v, uint8_t *ip,
			     uint32_t len, struct pkt *p)
{
	uint32_t start, offset;

	switch (pkt_parse(p, ip, len, w->settings->family)) {
	case PKT_OK:
		break;
	case PKT_VERSION:
		return of_other_family(w, ip, len);
	case PKT_HEADER:
		return DROP_OUT_BAD_HEADER;
	case PKT_SHORT:
	case PKT_LENGTH:
		return DROP_OUT_TOO_SHORT;
	}
	if (!vnet_take(p, v, &start, &offset))
		return DROP_OUT_VNET_HEADER;
	if (p->gso_size && p->payload > SEGMENT_HEADER_MAX)
		return DROP_OUT_BAD_HEADER;
	if (p->unfinished && !p->gso_size)
		pkt_finish(p, start, offset);
	return NO_DROP;
}

static void answer_unreachable(struct worker *w, const struct pkt *p)
{
	uint8_t buf[ICMP_MAX6];
	struct vnethdr v = { 0 };
	uint32_t len = icmp_unreachable(p, buf);
	struct iovec iov[2] = { { 0 }, { buf, len } };

	if (len == 0 || !icmp_allowed(&w->icmp, now_ms()))
		return;
	if (tun_write(w->tuns[w->turn], w->vnet, &v, iov, 2) == 0)
		count(&w->counters, COUNT_ICMP_SENT, 1);
}

static enum counter unowned(const struct pkt *p)
{
	return is_multicast(pkt_dst(p), p->family) ? DROP_OUT_MULTICAST
						   : DROP_OUT_NO_ROUTE;
}

static struct slot *take_slot(struct worker *w, const struct peer *peer,
			      const struct pkt *p, uint32_t source)
{
	struct slot *slot;

	if (pack_is_full(&w->packer))
		udp_send_all(&w->sender, &w->packer);
	slot = pack_take(&w->packer, source);
	slot->peer = peer;
	slot->tos = ecn_encap(pkt_tos(p));
	return slot;
}

/* A whole packet: the overlay headers go right in front of it. */
static void encap_packet(struct slot *slot, const struct pkt *p)
{
	uint8_t *frame = p->ip - HEADROOM;

	memcpy(frame, &slot->peer->overlay, HEADROOM);
	slot->inner_len = p->len;
	slot->len = HEADROOM + p->len;
	slot->n_iov = 1;
	slot->iov[0] = (struct iovec){ frame, slot->len };
}

/* Segment i: headers of its own, payload where it was read. */
static void encap_segment(struct slot *slot, const struct pkt *p, uint32_t i)
{
	uint8_t *payload = p->ip + p->payload + i * p->gso_size;
	uint32_t len = segment_payload(p, i);

	memcpy(slot->header, &slot->peer->overlay, HEADROOM);
	segment_header(p, i, slot->header + HEADROOM);
	slot->inner_len = p->payload + len;
	slot->len = HEADROOM + slot->inner_len;
	slot->n_iov = 2;
	slot->iov[0] = (struct iovec){ slot->header, HEADROOM + p->payload };
	slot->iov[1] = (struct iovec){ payload, len };
}

/* False: it has to be cut, for the link or because somebody is watching. */
static bool sent_uncut(struct worker *w, const struct peer *peer,
		       const struct pkt *p, uint32_t n, uint32_t source)
{
	uint32_t segment = HEADROOM + p->payload + p->gso_size;

	if (!uncut_takes(&w->uncut, p, w->sender.now) ||
	    !udp_proven(&w->sender, peer, segment) || w->trace.capture)
		return false;
	udp_send_all(&w->sender, &w->packer);	/* before, in a flow */
	if (uncut_send(&w->uncut, peer, p, n, w->sender.port[source],
		       w->sender.now) < 0) {
		count(&w->counters, COUNT_OUT_UNCUT_REFUSED, 1);
		return false;
	}
	udp_account(&w->sender, peer, n, p->len + (n - 1) * p->payload);
	count(&w->counters, COUNT_OUT_UNCUT, 1);
	return true;
}

/* Whether p has to stay where it is, for udp_send_all(). */
static bool encap(struct worker *w, const struct peer *peer,
		  const struct pkt *p, uint32_t n)
{
	uint32_t source = (uint64_t)p->flow * w->sender.n_fds >> 32;

	if (n == 1)
		encap_packet(take_slot(w, peer, p, source), p);
	else if (sent_uncut(w, peer, p, n, source))
		return false;
	else
		for (uint32_t i = 0; i < n; i++)
			encap_segment(take_slot(w, peer, p, source), p, i);
	return true;
}

/*
 * For what is dropped, and while a capture runs for all: counts, shows.
 * Whether the packet goes on.  len is what was read.
 */
static SELDOM bool out_shown(struct worker *w, const struct table *t,
			     const struct pkt *p, uint32_t len, uint32_t n,
			     enum counter drop)
{
	struct iovec iov = { p->ip, len };
	struct sighting s = { .point = VX_FROM_TUN, .iov = &iov, .n_iov = 1,
			      .len = len, .packets = n };
	const struct peer *peer;

	if (drop != NO_DROP) {
		count(&w->counters, drop, n);
		trace_dropped(&w->trace, drop, &s);
		return false;
	}
	peer = table_lookup(t, pkt_dst(p));
	if (peer) {	/* else it is dropped soon, and shown then */
		s.outer = peer_outer(peer);
		trace_passed(&w->trace, &s);
	}
	return true;
}

/* Whether what is at ip has to stay there, for udp_send_all(). */
static bool out_packet(struct worker *w, const struct table *t,
		       const struct vnethdr *v, uint8_t *ip, uint32_t len)
{
	struct pkt p;
	enum counter drop = classify(w, v, ip, len, &p);
	uint32_t n = drop == NO_DROP ? segment_count(&p) : 1;
	const struct peer *peer;

	count(&w->counters, COUNT_OUT_PACKETS, n);
	if (drop != w->trace.ordinary && !out_shown(w, t, &p, len, n, drop))
		return false;
	path_mtu_learn(w->path_mtus, &p, w->sender.now);
	if (w->steering)
		steer_learn(w->steering, &p, w->turn);
	peer = table_lookup(t, pkt_dst(&p));
	if (!peer) {
		out_shown(w, t, &p, len, n, unowned(&p));
		answer_unreachable(w, &p);
		return false;
	}
	return encap(w, peer, &p, n);
}

/*
 * Bytes of a queue (a bit) that are its part of a turn: an equal one of what
 * the arena holds, or of what is bulk's.  That is more, for where there is a
 * TAP bulk mostly leaves whole and does not fill the arena, and beside queues
 * without it the packets are what is shared, not the bytes.
 */
static uint32_t part(const struct worker *w, uint32_t queue, uint32_t shares)
{
	uint32_t bulk = w->ready & patience_carriers(&w->patience);

	if (!(queue & bulk) || (bulk == w->ready && w->uncut.tap < 0))
		return ARENA / shares;
	return BULK_TURN / __builtin_popcount(bulk);
}

/* Room for one more packet, of the arena that is used up to `at`. */
static uint8_t *make_room(struct worker *w, uint8_t *at)
{
	if (at <= w->arena + ARENA)
		return at;
	udp_send_all(&w->sender, &w->packer);
	return w->arena;
}

/*
 * Reads one of `shares` parts of a turn from the queue w->turn, into the arena
 * from `at` on; where the next one may begin.  *more: there may be more in it.
 */
static uint8_t *read_queue(struct worker *w, const struct table *t,
			   uint8_t *at, uint32_t shares, bool *more)
{
	uint32_t queue = 1u << (w->turn - w->queue), n, bytes = 0;
	uint32_t most = patience_beside(&w->patience, queue) ? BULK_SMALL
							     : OUT_BATCH;
	uint32_t enough = part(w, queue, shares);
	int tun = w->tuns[w->turn], len = 0;

	most /= shares;
	for (n = 0; n < most && bytes <= enough; n++, bytes += len) {
		struct vnethdr v;
		uint8_t *ip;

		at = make_room(w, at);
		ip = at + UNCUT_ROOM + HEADROOM;
		len = tun_read(tun, w->vnet, &v, ip, IP6_MAX_LEN);
		if (len < 0)
			break;
		if (patience_is_flood(len, v.gso_size)) {
			w->patience.full = true;
			most = 0;
		} else {
			patience_carried(&w->patience, len, queue);
		}
		if (!out_packet(w, t, &v, ip, len))
			continue;
		at = ip + len + ARENA_ALIGN;
		at -= (uintptr_t)at % ARENA_ALIGN;
	}
	count(&w->counters, COUNT_OUT_READS, n);
	if (len < 0)
		return at;
	*more = true;
	w->patience.full |= patience_beside(&w->patience, queue);
	return at;
}

/* Of the queues that are left the next one, in a circle. */
static uint32_t next_queue(const struct worker *w, uint32_t left)
{
	uint32_t later = left & -(2u << (w->turn - w->queue));

	return w->queue + __builtin_ctz(later ? later : left);
}

bool outbound(struct worker *w, const struct table *t)
{
	uint32_t first = w->turn, shares = __builtin_popcount(w->ready);
	uint8_t *at = w->arena;
	bool more = false;

	for (uint32_t left = w->ready; left;
	     left &= ~(1u << (w->turn - w->queue))) {
		w->turn = next_queue(w, left);
		if (left == w->ready)
			first = w->turn;
		at = read_queue(w, t, at, shares, &more);
	}
	w->turn = first;	/* another one is first next time */
	udp_send_all(&w->sender, &w->packer);
	return more;
}
