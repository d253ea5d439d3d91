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

enum { OVERLAY = sizeof(struct overlay) };

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

	if (len == 0 || !icmp_allowed(&w->icmp, w->sender.now))
		return;
	if (tun_write(w->tuns[w->reading], w->vnet, &v, buf, len) == 0)
		count(&w->counters, COUNT_ICMP_SENT, 1);
}

static enum counter unowned(const struct pkt *p)
{
	return is_multicast(pkt_dst(p), p->family) ? DROP_OUT_MULTICAST
						   : DROP_OUT_NO_ROUTE;
}

/* Room for a datagram, its overlay headers written; where the packet goes. */
static uint8_t *lay(struct worker *w, const struct peer *peer,
		    const struct pkt *p, uint32_t len, uint32_t source)
{
	struct datagram *d;

	len += OVERLAY;
	if (pack_is_full(&w->packer, len))
		udp_send_all(&w->sender, &w->packer);
	d = pack_take(&w->packer, source, len);
	d->peer = peer;
	d->tos = ecn_encap(pkt_tos(p));
	memcpy(d->data, &peer->overlay, OVERLAY);
	return d->data + OVERLAY;
}

/* False: it has to be cut, for the link or because somebody is watching. */
static bool sent_uncut(struct worker *w, const struct peer *peer,
		       const struct pkt *p, uint32_t n, uint32_t source)
{
	uint32_t segment = OVERLAY + p->payload + p->gso_size;

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

static void encap(struct worker *w, const struct peer *peer,
		  const struct pkt *p, uint32_t n)
{
	uint32_t source = (uint64_t)p->flow * w->sender.n_fds >> 32;

	if (n == 1) {
		memcpy(lay(w, peer, p, p->len, source), p->ip, p->len);
		return;
	}
	if (sent_uncut(w, peer, p, n, source))
		return;
	for (uint32_t i = 0; i < n; i++)
		segment_write(p, i, lay(w, peer, p, segment_len(p, i), source));
}

/* Counts and shows a packet that is dropped, the n of it; len: as read. */
static SELDOM void out_drop(struct worker *w, const struct pkt *p,
			    uint32_t len, uint32_t n, enum counter reason)
{
	count(&w->counters, reason, n);
	trace_dropped(&w->trace, reason,
		      &(struct sighting){ .point = VX_FROM_TUN, .data = p->ip,
					  .len = len, .packets = n });
}

/* Shows one that goes on to the capture that runs. */
static SELDOM void out_capture(struct worker *w, const struct table *t,
			       const struct pkt *p, uint32_t len, uint32_t n)
{
	const struct peer *peer = table_lookup(t, pkt_dst(p));

	if (!peer)
		return;		/* it is dropped soon, and shown then */
	trace_passed(&w->trace,
		     &(struct sighting){ .point = VX_FROM_TUN, .data = p->ip,
					 .outer = peer_outer(peer), .len = len,
					 .packets = n });
}

static void out_packet(struct worker *w, const struct table *t,
		       const struct vnethdr *v, uint8_t *ip, uint32_t len)
{
	struct pkt p;
	enum counter drop = classify(w, v, ip, len, &p);
	uint32_t n = drop == NO_DROP ? segment_count(&p) : 1;
	const struct peer *peer;

	count(&w->counters, COUNT_OUT_PACKETS, n);
	if (drop != w->trace.ordinary) {	/* or a capture runs */
		if (drop != NO_DROP) {
			out_drop(w, &p, len, n, drop);
			return;
		}
		out_capture(w, t, &p, len, n);
	}
	path_mtu_learn(w->path_mtus, &p, w->sender.now);
	if (w->steering)
		steer_learn(w->steering, &p, w->reading);
	peer = table_lookup(t, pkt_dst(&p));
	if (!peer) {
		out_drop(w, &p, len, n, unowned(&p));
		answer_unreachable(w, &p);
		return;
	}
	encap(w, peer, &p, n);
}

/*
 * Bytes of a queue that are its part of a turn: an equal one of
 * TURN_BYTES, or of what is bulk's.  That is more, for where there is a TAP
 * bulk mostly leaves whole, and beside queues without it the packets are what
 * is shared, not the bytes.
 */
static uint32_t part(const struct worker *w, uint32_t queue_bit,
		     uint32_t shares)
{
	uint32_t bulk = w->ready & patience_carriers(&w->patience);

	if (!(queue_bit & bulk) || (bulk == w->ready && w->uncut.tap < 0))
		return TURN_BYTES / shares;
	return BULK_TURN / __builtin_popcount(bulk);
}

static uint32_t reading_bit(const struct worker *w)
{
	return 1u << (w->reading - w->first_queue);
}

/* Reads one of `shares` parts of a turn from the queue w->reading; whether
 * there may be more in it. */
static bool read_queue(struct worker *w, const struct table *t, uint32_t shares)
{
	uint32_t queue_bit = reading_bit(w), n, bytes = 0;
	uint32_t most = patience_beside(&w->patience, queue_bit) ? BULK_SMALL
								 : OUT_BATCH;
	uint32_t enough = part(w, queue_bit, shares);
	int tun = w->tuns[w->reading], len = 0;
	bool flood = false;

	most /= shares;
	for (n = 0; n < most && bytes <= enough && !flood; n++, bytes += len) {
		struct vnethdr v;

		len = tun_read(tun, w->vnet, &v, w->packet, IP6_MAX_LEN);
		if (len < 0)
			break;
		flood = patience_is_flood(len, v.gso_size);
		if (!flood)
			patience_carried(&w->patience, len, queue_bit);
		out_packet(w, t, &v, w->packet, len);
	}
	count(&w->counters, COUNT_OUT_READS, n);
	w->patience.full |= flood;
	if (len < 0)
		return false;
	w->patience.full |= patience_beside(&w->patience, queue_bit);
	return true;
}

/* Of the queues that are left the next one, in a circle. */
static uint32_t next_queue(const struct worker *w, uint32_t left)
{
	uint32_t later = left & -(reading_bit(w) << 1);

	return w->first_queue + __builtin_ctz(later ? later : left);
}

bool outbound(struct worker *w, const struct table *t)
{
	uint32_t first = w->reading, shares = __builtin_popcount(w->ready);
	bool more = false;

	for (uint32_t left = w->ready; left; left &= ~reading_bit(w)) {
		w->reading = next_queue(w, left);
		if (left == w->ready)
			first = w->reading;
		more |= read_queue(w, t, shares);
	}
	w->reading = first;	/* another one is first next time */
	udp_send_all(&w->sender, &w->packer);
	return more;
}
