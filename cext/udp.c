/* SPDX-License-Identifier: Apache-2.0 */
#include "udp.h"

#include <errno.h>
#include <poll.h>

#include "sockopt.h"

enum {
	FULL_WAIT_MS = 1,
	REFUSED_MS = 1000,
	UNABLE_MS = 60000,
	PROVEN_MS = 1000,
};

/* What to do with a message that was not sent. */
enum verdict { AGAIN, REPACK, LOST };

static uint32_t place(const struct peer *peer)
{
	return peer->slot % PROOFS;
}

/* By the slot, which stays its own from one table to the next. */
static bool may_segment(const void *who, const struct peer *peer)
{
	const struct sender *s = who;

	return s->may_segment &&
	       s->per_peer[peer->slot].refused_until <= s->now;
}

/* By address: peers move with each table. */
static bool is_for(const struct proof *p, const struct peer *peer)
{
	return memcmp(&p->to, &peer->sa, peer->salen) == 0;
}

/* What a path has said of UDP_SEGMENT last. */
static void in_force(struct sender *s, bool segment)
{
	if (atomic_load_explicit(&s->segment, memory_order_relaxed) != segment)
		atomic_store_explicit(&s->segment, segment,
				      memory_order_relaxed);
}

/* The largest size of the last second is what counts. */
static void prove(struct sender *s, const struct peer *peer, uint32_t size)
{
	struct proof *p = &s->proofs[place(peer)];

	in_force(s, true);
	if (!is_for(p, peer) || p->until <= s->now || p->size < size) {
		memcpy(&p->to, &peer->sa, peer->salen);
		p->until = s->now + PROVEN_MS;
		p->size = size;
	}
}

bool udp_proven(const struct sender *s, const struct peer *peer, uint32_t size)
{
	const struct proof *p = &s->proofs[place(peer)];

	return is_for(p, peer) && p->until > s->now && p->size >= size &&
	       may_segment(s, peer);
}

static void count_sent(struct counters *c, uint32_t sends, uint64_t packets,
		       uint64_t bytes)
{
	count(c, COUNT_OUT_SENDS, sends);
	count(c, COUNT_OUT_SENT, packets);
	count(c, COUNT_OUT_BYTES, bytes);
}

void udp_account(struct sender *s, const struct peer *peer, uint32_t packets,
		 uint64_t bytes)
{
	peer_sent(&s->per_peer[peer->slot], packets, bytes);
	count_sent(s->counters, 1, packets, bytes);
}

/* n messages from the i-th on were sent. */
static void account(struct sender *s, const struct packer *k, uint32_t i,
		    uint32_t n)
{
	const struct messages *m = &s->messages;
	uint64_t packets = 0, bytes = 0;

	for (const uint32_t end = i + n; i < end; i++) {
		const struct datagram *first = &k->datagrams[m->first[i]];
		uint16_t at = m->first[i];
		uint64_t these = 0;

		for (uint32_t left = m->count[i]; left--;
		     at = k->datagrams[at].next)
			these += k->datagrams[at].len - sizeof(struct overlay);
		peer_sent(&s->per_peer[first->peer->slot], m->count[i], these);
		if (m->count[i] > 1)
			prove(s, first->peer, first->len);
		packets += m->count[i];
		bytes += these;
	}
	count_sent(s->counters, n, packets, bytes);
}

/*
 * net/ipv4/udp.c, udp_send_skb(): EIO when the device to this peer cannot
 * checksum what it would have to segment, or what goes there is encrypted
 * (xfrm); that changes seldom.  EINVAL and EMSGSIZE: a segment is larger than
 * the MTU of the path; single datagrams are fragmented there.
 */
static enum verdict refused(struct sender *s, const struct peer *peer,
			    int error)
{
	count(s->counters, COUNT_OUT_GSO_REFUSED, 1);
	if (error == EIO)
		in_force(s, false);
	s->per_peer[peer->slot].refused_until =
		s->now + (error == EIO ? UNABLE_MS : REFUSED_MS);
	return REPACK;
}

static enum counter reason(int error)
{
	switch (error) {
	case EAGAIN:
		return DROP_OUT_SOCKET_FULL;
	case ENOBUFS:
	case ENOMEM:
		return DROP_OUT_NO_BUFFER;
	case ENETUNREACH:
	case EHOSTUNREACH:
	case ENETDOWN:
		return DROP_OUT_UNREACHABLE;
	default:
		return DROP_OUT_SEND_ERROR;
	}
}

/*
 * Gives the underlay device a moment, once for all that is being sent: false
 * if it had that.  Whatever poll() says, there may be room afterwards: it
 * waits until half of the buffer is free (sock_writeable(), net/sock.h), which
 * may take far longer.
 */
static bool wait_for_room(int fd, bool *waited)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	if (*waited)
		return false;
	*waited = true;
	poll(&p, 1, FULL_WAIT_MS);
	return true;
}

static struct sighting sighting_of(const struct datagram *d, be16 port)
{
	return (struct sighting){ .point = VX_TO_UNDERLAY, .tos = d->tos,
				  .port = port,
				  .outer = peer_outer(d->peer),
				  .data = d->data, .len = d->len,
				  .packets = 1 };
}

/* Counts and shows the datagrams of a message that is lost. */
static SELDOM void lose(struct sender *s, struct packer *k, unsigned source,
			uint32_t i, enum counter reason)
{
	const struct messages *m = &s->messages;
	uint16_t at = m->first[i];

	count(s->counters, reason, m->count[i]);
	for (uint32_t n = m->count[i]; n--; at = k->datagrams[at].next) {
		struct sighting seen = sighting_of(&k->datagrams[at],
						s->port[source]);

		trace_dropped(s->trace, reason, &seen);
		k->datagrams[at].lost = true;
	}
}

/* Shows the capture that runs what was sent since then. */
static SELDOM void show_sent(struct sender *s, const struct packer *k,
			     uint64_t time)
{
	for (uint64_t used = k->used; used; used &= used - 1) {
		unsigned source = __builtin_ctzll(used);
		be16 port = s->port[source];

		for (uint16_t at = k->head[source]; at != NO_DATAGRAM;
		     at = k->datagrams[at].next) {
			struct sighting seen = sighting_of(&k->datagrams[at],
							   port);

			seen.time = time;
			if (!k->datagrams[at].lost)
				trace_passed(s->trace, &seen);
		}
	}
}

static enum verdict not_sent(struct sender *s, struct packer *k,
			     unsigned source, uint32_t i, bool *waited)
{
	const struct messages *m = &s->messages;
	int error = errno;

	if (error == EINTR)
		return AGAIN;
	if (error == EAGAIN && wait_for_room(s->fds[source], waited))
		return AGAIN;
	if (m->count[i] > 1 &&
	    (error == EIO || error == EINVAL || error == EMSGSIZE))
		return refused(s, k->datagrams[m->first[i]].peer, error);
	lose(s, k, source, i, reason(error));
	return LOST;
}

/* Sends the packed messages; returns the datagram from which to pack anew. */
static uint16_t send_messages(struct sender *s, struct packer *k,
			      unsigned source, bool *waited)
{
	struct messages *m = &s->messages;
	int fd = s->fds[source];
	uint32_t at = 0;

	while (at < m->n) {
		int n = sendmmsg(fd, m->msg + at, m->n - at, MSG_DONTWAIT);

		if (n >= 0) {
			account(s, k, at, n);
			at += n;
			continue;
		}
		switch (not_sent(s, k, source, at, waited)) {
		case AGAIN:
			break;
		case REPACK:
			return m->first[at];
		case LOST:
			at++;
			break;
		}
	}
	return NO_DATAGRAM;
}

void udp_send_all(struct sender *s, struct packer *k)
{
	uint64_t began = s->trace->capture ? trace_now() : 0;
	bool waited = false;

	for (uint64_t used = k->used; used; used &= used - 1) {
		unsigned source = __builtin_ctzll(used);
		uint16_t at = k->head[source];

		while (at != NO_DATAGRAM) {
			pack_messages(k, at, may_segment, s, &s->messages);
			at = send_messages(s, k, source, &waited);
		}
	}
	if (s->trace->capture)
		show_sent(s, k, began);
	pack_reset(k);
}
