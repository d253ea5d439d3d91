/* SPDX-License-Identifier: Apache-2.0 */
#include "pack.h"

#include "sockopt.h"

struct datagram *pack_take(struct packer *k, uint32_t source, uint32_t len)
{
	uint64_t bit = 1ull << source;
	uint16_t at = k->n++;
	struct datagram *d = &k->datagrams[at];

	d->data = k->memory + k->bytes;
	d->len = len;
	d->lost = false;
	d->next = NO_DATAGRAM;
	k->bytes += len;
	if (k->used & bit)
		k->datagrams[k->tail[source]].next = at;
	else
		k->head[source] = at;
	k->used |= bit;
	k->tail[source] = at;
	return d;
}

void pack_reset(struct packer *k)
{
	k->bytes = 0;
	k->n = 0;
	k->used = 0;
}

static void put_control(struct msghdr *msg, int level, int type,
			const void *value, size_t len)
{
	struct cmsghdr *c = (struct cmsghdr *)((uint8_t *)msg->msg_control +
					       msg->msg_controllen);

	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), value, len);
	msg->msg_controllen += CMSG_SPACE(len);
}

static void address(struct messages *m, uint32_t i,
		    const struct datagram *first)
{
	struct msghdr *msg = &m->msg[i].msg_hdr;
	int tos = first->tos;
	bool v4 = first->peer->sa.any.sa_family == AF_INET;

	msg->msg_name = (void *)&first->peer->sa;
	msg->msg_namelen = first->peer->salen;
	msg->msg_control = m->control[i];
	msg->msg_controllen = 0;
	if (m->count[i] > 1) {
		uint16_t size = first->len;

		put_control(msg, SOL_UDP, UDP_SEGMENT, &size, sizeof(size));
	}
	if (tos)
		put_control(msg, v4 ? IPPROTO_IP : IPPROTO_IPV6,
			    v4 ? IP_TOS : IPV6_TCLASS, &tos, sizeof(tos));
	if (msg->msg_controllen == 0)
		msg->msg_control = NULL;
}

static bool joins(const struct datagram *first, const struct datagram *next,
		  uint32_t count, uint32_t bytes)
{
	uint32_t most = first->peer->sa.any.sa_family == AF_INET
				? UDP_MAX_PAYLOAD4 : UDP_MAX_PAYLOAD6;

	return next->peer == first->peer && next->tos == first->tos &&
	       next->len <= first->len && count < MAX_PAYLOAD_SEGMENTS &&
	       bytes + next->len <= most;
}

/* Adds a datagram's bytes to the last piece of memory, or as a new one. */
static void append(struct msghdr *msg, const struct datagram *s)
{
	size_t n = msg->msg_iovlen;

	if (n) {
		struct iovec *last = &msg->msg_iov[n - 1];

		if ((uint8_t *)last->iov_base + last->iov_len == s->data) {
			last->iov_len += s->len;
			return;
		}
	}
	msg->msg_iov[n] = (struct iovec){ s->data, s->len };
	msg->msg_iovlen++;
}

/* Fills message i from the datagram `at` on; returns the one behind it. */
static uint16_t fill(const struct packer *k, struct messages *m, uint32_t i,
		     uint16_t at, bool segment, struct iovec *iov)
{
	const struct datagram *first = &k->datagrams[at], *s = first;
	struct msghdr *msg = &m->msg[i].msg_hdr;
	uint32_t bytes = 0;

	m->first[i] = at;
	m->count[i] = 0;
	*msg = (struct msghdr){ .msg_iov = iov };
	do {
		uint32_t last = s->len;

		append(msg, s);
		bytes += s->len;
		m->count[i]++;
		at = s->next;
		if (at == NO_DATAGRAM || !segment || last < first->len)
			break;
		s = &k->datagrams[at];
	} while (joins(first, s, m->count[i], bytes));
	address(m, i, first);
	return at;
}

void pack_messages(const struct packer *k, uint16_t from,
		   may_segment_fn *may_segment, const void *who,
		   struct messages *m)
{
	struct iovec *iov = m->iov;
	uint16_t at = from;

	for (m->n = 0; at != NO_DATAGRAM; m->n++) {
		bool segment = may_segment(who, k->datagrams[at].peer);

		at = fill(k, m, m->n, at, segment, iov);
		iov += m->msg[m->n].msg_hdr.msg_iovlen;
	}
	m->first[m->n] = NO_DATAGRAM;
}
