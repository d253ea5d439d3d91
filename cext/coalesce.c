/* SPDX-License-Identifier: Apache-2.0 */
#include "coalesce.h"

/* Writes the header of the merged packet over the first one's. */
static void seal(struct run *r)
{
	struct pkt *p = &r->first;

	if (pkt_udp(p))
		pkt_udp(p)->len = htons(r->len - p->l4);
	pkt_set_len(p, r->len);
	p->gso_size = p->len - p->payload;
	p->len = r->len;
	p->unfinished = true;
	pkt_csum_set(p, csum_fold(pkt_pseudo(p, r->len - p->l4)));
}

static void send_run(struct coalescer *c, struct run *r)
{
	if (r->n == 0)
		return;
	if (r->n > 1)
		seal(r);
	c->deliver(c->to, &r->first, r->n);
	r->n = 0;
}

static void send_alone(struct coalescer *c, const struct pkt *p)
{
	struct pkt one = *p;

	c->deliver(c->to, &one, 1);
}

/* Whether p may be in a run at all. */
static bool may_merge(const struct coalescer *c, const struct pkt *p)
{
	const struct tcphdr *tcp = pkt_tcp(p);

	if (!p->transport || p->gso_size || p->len == p->payload ||
	    p->l4 != ip_header_min(p->family))
		return false;
	if (!tcp)
		return c->udp && pkt_csum_get(p) != 0;
	return c->tcp && (tcp->flags & TCP_ACK) &&
	       !(tcp->flags & (TCP_SYN | TCP_RST | TCP_URG | TCP_CWR));
}

static bool same_addresses(const struct pkt *a, const struct pkt *b)
{
	return same_addr(pkt_src(a), pkt_src(b), a->family) &&
	       same_addr(pkt_dst(a), pkt_dst(b), a->family);
}

static bool same_flow(const struct pkt *a, const struct pkt *b)
{
	return a->transport == b->transport && same_addresses(a, b) &&
	       !memcmp(a->ip + a->l4, b->ip + b->l4, 4);
}

static bool id_follows(struct run *r, const struct ip4hdr *a,
		       const struct ip4hdr *b)
{
	uint16_t step = ntohs(b->id) - ntohs(a->id);

	if (r->n == 1)
		r->same_id = step == 0 && (a->frag & htons(IP4_DF));
	return step == (r->same_id ? 0 : r->n);
}

static bool ip_follows(struct run *r, const struct pkt *p)
{
	const struct ip4hdr *a = pkt_ip4(&r->first), *b = pkt_ip4(p);

	if (!a) /* class, flow label, next header, hop limit: all but len */
		return !memcmp(r->first.ip, p->ip, 4) &&
		       !memcmp(r->first.ip + 6, p->ip + 6, 2);
	/* The reserved bit (RFC 791, 3.1) joins no run, as in the kernel. */
	return a->tos == b->tos && a->ttl == b->ttl && a->frag == b->frag &&
	       !(b->frag & ~htons(IP4_DF)) && id_follows(r, a, b);
}

static bool tcp_follows(const struct run *r, const struct pkt *p)
{
	const struct tcphdr *a = pkt_tcp(&r->first), *b = pkt_tcp(p);
	size_t options = p->payload - p->l4 - sizeof(*a);

	return a->ack == b->ack && a->doff == b->doff &&
	       a->window == b->window && a->urgent == b->urgent &&
	       !((a->flags ^ b->flags) & ~(TCP_FIN | TCP_PSH)) &&
	       ntohl(b->seq) == ntohl(a->seq) + r->len - r->first.payload &&
	       !memcmp(a + 1, b + 1, options);
}

static bool is_last(const struct run *r, const struct pkt *p)
{
	const struct tcphdr *tcp = pkt_tcp(p);
	uint32_t size = r->first.len - r->first.payload;

	return p->len - p->payload < size || r->n == RUN_MAX ||
	       (tcp && tcp->flags & (TCP_FIN | TCP_PSH));
}

/* Whether the first packet may be merged; it is in the run's memory then. */
static bool copy_first(struct run *r, uint8_t *memory)
{
	if (!pkt_verify_copy(&r->first, memory + r->first.payload))
		return false;
	memcpy(memory, r->first.ip, r->first.payload);
	r->first.ip = memory;
	r->copied = true;
	return true;
}

static bool append(struct coalescer *c, struct run *r, const struct pkt *p)
{
	uint8_t *memory = c->memory + (r - c->runs) * LARGE_STRIDE;
	uint32_t size = r->first.len - r->first.payload;
	uint32_t len = p->len - p->payload;

	if (r->closed || len > size || r->len + len > IP_MAX_LEN ||
	    r->first.payload != p->payload || !ip_follows(r, p) ||
	    (pkt_tcp(p) && !tcp_follows(r, p)))
		return false;
	if (!r->copied && !copy_first(r, memory)) {
		r->closed = true;
		return false;
	}
	if (!pkt_verify_copy(p, memory + r->len))
		return false;
	if (pkt_tcp(p))
		pkt_tcp(&r->first)->flags |= pkt_tcp(p)->flags;
	r->n++;
	r->len += len;
	r->closed = is_last(r, p);
	return true;
}

static void start(struct run *r, const struct pkt *p)
{
	r->first = *p;
	r->len = p->len;
	r->n = 1;
	r->copied = false;
	r->closed = is_last(r, p);
}

/* Sends what waits and what p, which is delivered alone, must not overtake:
 * its flow, and for a fragment or a foreign protocol all of its hosts. */
static void send_before(struct coalescer *c, const struct pkt *p)
{
	for (unsigned i = 0; i < RUNS; i++) {
		struct run *r = &c->runs[i];

		if (r->n && (p->transport ? same_flow(&r->first, p)
					  : same_addresses(&r->first, p)))
			send_run(c, r);
	}
}

void coalesce_add(struct coalescer *c, const struct pkt *p)
{
	struct run *r;

	c->last = NULL;
	if (!may_merge(c, p)) {
		send_before(c, p);
		send_alone(c, p);
		return;
	}
	c->last = r = &c->runs[p->flow % RUNS];
	if (r->n && same_flow(&r->first, p) && append(c, r, p))
		return;
	send_run(c, r);
	start(r, p);
}

bool coalesce_next(struct coalescer *c, uint8_t *ip, uint32_t len)
{
	struct run *r = c->last;
	struct pkt p;

	/* An unfinished one's followers mostly are, too: no try in vain. */
	return r && !r->first.unfinished &&
	       pkt_parse_next(&p, &r->first, ip, len) && append(c, r, &p);
}

void coalesce_flush(struct coalescer *c)
{
	c->last = NULL;
	for (unsigned i = 0; i < RUNS; i++)
		send_run(c, &c->runs[i]);
}
